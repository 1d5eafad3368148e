"""Targets that read mail: header fields, addresses, MIME, and whole messages up to what the gateway decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from domsec.errors import DomsecError
from domsec.gateway.data import problem_of, stuffed
from domsec.gateway.session import hops, received_fields
from domsec.mime import (
    addresses,
    authentication_results,
    canonical,
    content_type,
    fields,
    header_protection,
    lexical,
    multipart,
    openpgp,
    seven_bit,
    smime,
    transfer_encoding,
)
from domsec.mime.addresses import Mailbox
from domsec.pipeline import process
from fuzz import world
from fuzz.binary import certainly, judge


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- values ---------------------------------------------------------------------------------------------------------


def read_addresses(data: bytes) -> None:
    """Addresses in every form; what is written of one is read as the same one."""
    text = _text(data)
    with contextlib.suppress(DomsecError):
        _same_again(addresses.parse_address(text))
    with contextlib.suppress(DomsecError):
        normal = addresses.normalise_domain(text)
        assert certainly(addresses.normalise_domain, normal) == normal
        assert normal.isascii()
    for mailbox in addresses.parse_mailboxes(text):
        _same_again(mailbox)
        mailbox.display.encode()


def _same_again(mailbox: Mailbox) -> None:
    written = mailbox.address
    assert not lexical.has_control(written)
    assert "\n" not in written
    again = certainly(addresses.parse_address, written)
    assert again == mailbox
    assert again.same_as(mailbox)
    assert certainly(addresses.parse_mailboxes, written) == (mailbox,)


def read_values(data: bytes) -> None:
    """Values of Content-Type, Content-Disposition and Authentication-Results."""
    text = _text(data)
    with contextlib.suppress(DomsecError):
        kind = content_type.parse_content_type(text)
        _clean(kind.parameters)
        assert lexical.is_token(kind.type)
        assert lexical.is_token(kind.subtype)
    with contextlib.suppress(DomsecError):
        _clean(content_type.parse_disposition(text).parameters)
    authentication_results.parse_authserv_id(text)
    field = fields.Field(b"Authentication-Results: " + data, "authentication-results")
    authentication_results.remove(fields.Header((field,)), ("acme.example", "x"))
    quoted = lexical.quote(text)
    again, end = certainly(lexical.quoted_string, quoted, 0)
    assert end == len(quoted)
    assert not lexical.has_control(again)
    _result(text)


def _clean(parameters: dict[str, str]) -> None:
    assert not any(map(lexical.has_control, parameters.values()))
    "".join(parameters.values()).encode("utf-8", "surrogateescape")


def _result(text: str) -> None:
    """Whatever the values of a result are, there is one field, and it is ours."""
    result = authentication_results.SmimeResult(
        "pass", reason=text, part=text, identifier=text, serial=len(text), issuer=text, level=text, domain=text
    )
    field = certainly(authentication_results.format_result, "acme.example", [result])
    header, body = certainly(fields.split_message, field.raw + b"\r\n")
    assert (len(header.fields), len(body)) == (1, 0)
    assert authentication_results.parse_authserv_id(header.fields[0].value) == "acme.example"


# --- entities -------------------------------------------------------------------------------------------------------


def read_mime(data: bytes) -> None:
    """An entity, cut in every way there is; nothing is lost and nothing comes from elsewhere."""
    header, body = fields.split_message(data)
    assert header.raw + header.separator + bytes(body) == data
    assert fields.join_message(header, body) == data
    for part in (fields.entity_header(header), fields.other_header(header)):
        assert all(field in header.fields for field in part.fields)
    _ = header.problems
    for field in header.fields:
        _ = field.value.encode("utf-8", "surrogateescape")
    info = addresses.parse_from(header)
    assert info.valid == bool(info.mailboxes)
    entity = fields.entity_of(data)
    assert certainly(fields.entity_of, entity) == entity
    replaced = certainly(fields.replace_entity, header, entity)
    assert certainly(fields.entity_of, replaced).endswith(bytes(body))
    found = smime.recognise(entity)
    if isinstance(found, smime.ClearSigned):
        assert bytes(found.part) in data
    for part in smime.embedded(entity):  # a slice, unless it is in a message that was encoded
        assert bytes(part.entity) in entity or any(word in entity.lower() for word in (b"base64", b"quoted-printable"))
    if (protected := header_protection.protected(*fields.split_message(entity))) is not None:
        assert certainly(protected.revealed, header).first("from") == header.first("from")
        protected.differences(header)
    assert header_protection.protect(header, entity).endswith(bytes(body))
    inside, outside = certainly(header_protection.conceal, header, entity)
    hidden = header_protection.protected(*fields.split_message(inside))
    assert outside == header or hidden is None or hidden.differences(outside) == ()
    if openpgp.protection(entity) == "encrypted":
        assert b"-----BEGIN PGP MESSAGE-----" in bytes(body)
    authentication_results.remove(header, "acme.example")
    assert canonical.is_canonical(canonical.canonical(data))
    _same_encodings(data)
    hops(data, "here")
    received_fields(data)
    with contextlib.suppress(DomsecError):
        _cut(header, body)
    fit = seven_bit.make_seven_bit(entity)
    assert transfer_encoding.is_seven_bit(fit)


def _same_encodings(data: bytes) -> None:
    assert certainly(transfer_encoding.decode_base64, transfer_encoding.encode_base64(data)) == data
    quoted = transfer_encoding.encode_quoted_printable(data)
    assert certainly(transfer_encoding.decode, quoted, "quoted-printable") == data
    read: tuple[Callable[[], bytes], ...] = (
        lambda: transfer_encoding.decode_base64_leniently(data),
        lambda: transfer_encoding.decode(data, "quoted-printable"),
        lambda: transfer_encoding.decode(memoryview(data), "base64"),
    )
    for decode in read:
        with contextlib.suppress(DomsecError):
            decode()


def _cut(header: fields.Header, body: memoryview) -> None:
    """The parts stand in the body in their order, with delimiters between them, of bytes as of a view."""
    field = header.first("content-type")
    boundary = content_type.parse_content_type(field.value).parameters.get("boundary", "x") if field else "x"
    cut = multipart.split(body, boundary)
    assert multipart.split(bytes(body), boundary) == cut
    at = 0
    whole = bytes(body)
    for part in (cut.preamble, *cut.parts, cut.epilogue):
        found = whole.find(bytes(part), at)
        assert found >= 0
        at = found + len(part)


# --- messages -------------------------------------------------------------------------------------------------------


def read_message(data: bytes) -> None:
    """A message as `domsec verify` and `domsec show` look at it."""
    judge(data)


def decide(data: bytes) -> None:
    """What the gateway does with a message, both ways: every recipient is settled once, and what leaves may leave."""
    for outbound in (False, True):
        transaction = world.transaction(data, outbound=outbound)
        made = process(transaction, world.acme() if outbound else world.beta())
        settled = [*made.discard]
        for each in (*made.outgoing, *made.refused, *made.held):
            settled += each.indexes
        assert sorted(settled) == list(range(len(transaction.recipients)))
        if problem_of(data) is None:
            for out in made.outgoing:
                stuffed(out.octets)
