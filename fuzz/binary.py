"""Targets that read DER: the reader itself, CMS, ESS values, certificates, requests for them, revocation lists."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from domsec import der, oids
from domsec.cms import attributes, compressed_data, content_info, enveloped_data, signed_data
from domsec.cms.attributes import Attributes
from domsec.cms.certificates import Certificate, read_issuer_and_serial, same_name
from domsec.cms.recipients import parse_recipients
from domsec.errors import DomsecError, LimitExceeded, MalformedMessage, SignatureInvalid
from domsec.ess import places, receipts
from domsec.mime.fields import split_message
from domsec.services import describe, names
from domsec.services.check import examine
from domsec.services.layers import peel
from domsec.services.names import Entity
from domsec.trust import crl, ocsp, path, request, usage
from domsec.trust import names as directory_names
from domsec.trust.addresses import addresses, mail_constraints
from fuzz import world

BINARY = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
FIELDS = b"From: alice@acme.example\r\nTo: bob@bravo.example\r\nSubject: x\r\n"


T = TypeVar("T")


def certainly(read: Callable[..., T], *given: object) -> T:
    """Read what we wrote: here an error of ours is a fault as well."""
    try:
        return read(*given)
    except DomsecError as error:
        raise AssertionError(f"what we wrote is refused: {error}") from error


# --- der ------------------------------------------------------------------------------------------------------------


def read_der(data: bytes) -> None:
    """What is read and written again is read as the same."""
    reader = der.Reader(data)
    whole = bytes(reader.skip())
    assert data.startswith(whole)
    definite = _definite(der.Reader(whole), 0)
    assert certainly(_definite, der.Reader(definite), 0) == definite
    assert certainly(der.Reader(definite).skip) == definite
    if attributes.is_distinguished(whole):
        assert certainly(attributes.distinguished, whole) == whole
    else:
        with contextlib.suppress(DomsecError):
            assert attributes.is_distinguished(attributes.distinguished(whole))


def _definite(reader: der.Reader, depth: int) -> bytes:
    """A value with definite lengths, its parts read by what they say they are."""
    tag = reader.peek()
    if tag is None:
        raise MalformedMessage("nothing")
    if depth > 100:
        raise LimitExceeded("der_depth")
    if tag == der.OCTET_STRING | der.CONSTRUCTED:
        return der.octet_string(reader.octet_string())
    if tag & der.CONSTRUCTED:
        reader.enter(tag)
        parts = []
        while not reader.at_end():
            parts.append(_definite(reader, depth + 1))
        reader.leave()
        return der.tlv(tag, *parts)
    return _primitive(reader, tag)


def _primitive(reader: der.Reader, tag: int) -> bytes:
    match tag:
        case der.OID:
            dotted = reader.oid()
            assert certainly(der.Reader(der.oid(dotted)).oid) == dotted
            return der.oid(dotted)
        case der.INTEGER | der.ENUMERATED:
            return der.integer(reader.integer(tag), tag)
        case der.BOOLEAN:
            return der.boolean(reader.boolean())
        case der.UTC_TIME | der.GENERALIZED_TIME:
            when = reader.time()
            assert when.utcoffset() is not None
            written = der.time(when)
            assert certainly(der.Reader(written).time) == when
            return written
    return der.tlv(tag, reader.primitive(tag))


# --- cms ------------------------------------------------------------------------------------------------------------


def read_cms(data: bytes) -> None:
    """Every structure by itself, whichever it is, and then taken apart as the layer of a message."""
    for value in _contents(data):
        for read in (
            lambda value=value: signed_data.parse_signed_data(value),
            lambda value=value: enveloped_data.parse_enveloped(oids.ID_ENVELOPED_DATA, value),
            lambda value=value: enveloped_data.parse_enveloped(oids.ID_CT_AUTH_ENVELOPED_DATA, value),
            lambda value=value: compressed_data.inflate(compressed_data.parse_compressed(value)),
            lambda value=value: parse_recipients(der.Reader(value)),
            lambda value=value: read_issuer_and_serial(der.Reader(value)),
            lambda value=value: _look_at(attributes.parse_attributes(value)),
        ):
            with contextlib.suppress(DomsecError):
                read()
    peel(FIELDS + BINARY + data, world.context().keyring)


def _contents(data: bytes) -> list[bytes]:
    found = [data]
    with contextlib.suppress(DomsecError):
        found.append(bytes(content_info.parse(data).content))
    return found


def _look_at(found: Attributes) -> None:
    for item in found.items:
        describe.value_text(item)
        with contextlib.suppress(DomsecError):
            attributes.read_signing_certificate(item)
        for value in item.values:
            for read in (
                attributes.read_signing_time,
                attributes.read_smime_capabilities,
                attributes.read_cms_algorithm_protection,
            ):
                with contextlib.suppress(DomsecError):
                    read(value)
    if not found.is_der:
        with contextlib.suppress(DomsecError):
            again = certainly(attributes.parse_attributes, found.der)
            assert again.is_der
            assert {item.oid for item in again.items} == {item.oid for item in found.items}


def read_signed(data: bytes) -> None:
    """The same judged, where every signature holds, so that paths, names and ESS attributes are looked at."""
    with world.signatures_hold():
        judge(FIELDS + BINARY + data)


def judge(octets: bytes) -> None:
    """Everything there is to say of a message; all of it can be printed."""
    context = world.context()
    message = peel(octets, context.keyring)
    assert bytes(message.octets) == octets
    header, body = split_message(octets)
    assert header.raw + header.separator + bytes(body) == octets
    json.dumps(describe.describe(message).to_json())
    json.dumps(examine(message, context).verdict.to_json())


# --- ess ------------------------------------------------------------------------------------------------------------


def read_ess(data: bytes) -> None:
    """A value that is read is written, and that is read as the same value."""
    for read in (*places.READ.values(), receipts.Receipt.read):
        try:
            value = read(data)
        except DomsecError:
            continue
        written = value.write()
        assert certainly(read, written) == value
        assert certainly(read, written).write() == written


# --- certificates and lists -----------------------------------------------------------------------------------------


def read_certificate(data: bytes) -> None:
    """Several certificates one behind the other: what each says, and the paths between them."""
    found: list[Certificate] = []
    reader = der.Reader(data)
    with contextlib.suppress(DomsecError):
        while not reader.at_end() and len(found) < 8:
            found.append(Certificate(bytes(reader.skip())))
    for certificate in found:
        _look_into(certificate)
    if not found:
        raise MalformedMessage("no certificate")
    same_name(found[0].issuer, found[-1].subject)
    context = world.context()
    with world.signatures_hold():
        for role in (True, False):
            context.path(found[0], found[1:], role=role, peer=None)
        as_anchors = path.AnchorSet(tuple(found[1:]))
        validator = path.Validator(path.Snapshot(as_anchors, as_anchors, tuple(found)))
        validator.validate(found[0], found, anchors=as_anchors, now=world.NOW, revocation="hard")


def _look_into(certificate: Certificate) -> None:
    repr(certificate)
    for part in (certificate.issuer, certificate.subject):
        directory_names.name_text(part)
        with contextlib.suppress(DomsecError):
            directory_names.normalised(part)
            assert directory_names.same_name(part, part)
    describe.addresses_of(certificate)
    usage.signing_problems(certificate)
    usage.encryption_problems(certificate)
    for look in (addresses, mail_constraints, path.is_authority, usage.key_usage, usage.extended_key_usage):
        with contextlib.suppress(DomsecError):
            look(certificate)
    for role in (*names.ROLE_NAMES.values(), names.CONFIDENTIALITY_AUTHORITY):
        names.check_naming(certificate, role)
    entities = [Entity("acme.example", certificate.subject, subject_trusted=True)]
    names.check_mapping(certificate, entities, None, lambda domain: domain == "example")


def read_request(data: bytes) -> None:
    """A request to a CA that certifies whom it names, were its signature right."""
    asked = request.read_request(data)
    assert asked.addresses == asked.addresses
    holder = request.holder(asked)
    assert holder.role == "user" or "@" not in holder.domain
    authority = world.certificates()[-1]
    with contextlib.suppress(SignatureInvalid), world.signatures_hold():
        request.check(asked, authority, world.NOW)


def read_ocsp(data: bytes) -> None:
    """A response that somebody sent, in an index and asked about each certificate it speaks of."""
    ocsp.loadable_responses([data])
    index = ocsp.ocsp_index([data])
    leaf, issuer = world.certificates()[0], world.certificates()[-1]
    index.status(leaf, issuer, world.NOW, index.responses)
    for response in index.responses:
        response.is_from(issuer)
        response.is_signed_by(issuer)
        for answer in response.answers:
            answer.until(timedelta(days=3))
            answer.certificate.fits(leaf, issuer)
            assert answer.certificate.octets


def read_crl(data: bytes) -> None:
    """A list that somebody sent, in an index and asked about a certificate."""
    crl.loadable([data])
    index = crl.crl_index([data])
    leaf, issuer = world.certificates()[0], world.certificates()[-1]
    _ = index.generation
    for found in index.crls:
        _ = found.entries
        found.current(world.NOW)
    index.status(leaf, issuer, world.NOW, index.crls)
    index.concerning((leaf, issuer))
