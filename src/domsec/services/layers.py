"""Taking a message apart, and putting layers on (RFC 3183 section 3).

A message is an onion. `peel` follows one spine: the root entity, then the content of each security layer, until
something that is no layer (decisions A-10). What is signed somewhere else inside a multipart is not on the spine and
says nothing about the message. A layer keeps the octets it arrived in; wrapping copies what is kept and encodes only
what is new.

Nothing here judges: mathematics and names are the business of `check`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from domsec import der, oids
from domsec.cms import compressed_data, content_info, enveloped_data, signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.cms.enveloped_data import Enveloped, Opened, SharedKey
from domsec.cms.signed_data import SignedData, SignerInfo
from domsec.errors import DecryptionFailed, LimitExceeded, MalformedMessage, Unsupported
from domsec.ess.receipts import ContentHints
from domsec.limits import DEFAULT, Limits
from domsec.mhs import heading
from domsec.mhs.heading import INTERPERSONAL
from domsec.mhs.names import ORName
from domsec.mhs.transport import Content
from domsec.mime import addresses, canonical, fields, header_protection, smime, x400_content
from domsec.mime.addresses import FromInfo, Mailbox
from domsec.mime.fields import Header
from domsec.mime.header_protection import Protected
from domsec.octets import Octets, Pieces, in_one_place, join

Kind = Literal[
    "signed",
    "null",
    "certs_only",
    "enveloped",
    "auth_enveloped",
    "compressed",
    "rfc822",
    "content",
    "unsupported",
]
Form = Literal["opaque", "clear", "direct"]
Closed = Literal["not_for_us", "failed"]
Flags = smime.Flags

ENCRYPTED: Final = ("enveloped", "auth_enveloped")
DIRECT: Final = {
    oids.ID_SIGNED_DATA,
    oids.ID_ENVELOPED_DATA,
    oids.ID_CT_AUTH_ENVELOPED_DATA,
    oids.ID_CT_COMPRESSED_DATA,
}

# what RFC 8551 3.2.2 calls each structure, and the file name that goes with it
SMIME_TYPES: Final = {
    "signed": ("signed-data", "smime.p7m"),
    "null": ("signed-data", "smime.p7m"),
    "certs_only": ("certs-only", "smime.p7c"),
    "enveloped": ("enveloped-data", "smime.p7m"),
    "auth_enveloped": ("authEnveloped-data", "smime.p7m"),
    "compressed": ("compressed-data", "smime.p7z"),
}
CONTENT_TYPES: Final = {
    "signed": oids.ID_SIGNED_DATA,
    "null": oids.ID_SIGNED_DATA,
    "certs_only": oids.ID_SIGNED_DATA,
    "enveloped": oids.ID_ENVELOPED_DATA,
    "auth_enveloped": oids.ID_CT_AUTH_ENVELOPED_DATA,
    "compressed": oids.ID_CT_COMPRESSED_DATA,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One wrapper, or at the end of the spine what is wrapped."""

    id: str  # "1" is the outermost, "1.1" what it encloses
    kind: Kind
    form: Form
    entity: Octets | Pieces  # the MIME entity exactly as received; for a direct one the CMS value without ContentInfo
    content: Octets | Pieces | None = None  # the value octets that are signed, encrypted, compressed
    content_type: str = oids.ID_DATA  # of the content
    signed: SignedData | None = None
    enveloped: Enveloped | None = None
    opened: Opened | None = None
    closed: Closed | None = None
    child: Layer | None = None
    protected: Protected | None = None  # the header that the layers outside protect (RFC 9788, RFC 8551 3.1)
    inner_from: FromInfo | None = None  # whom that header names in From; None where it has no From
    or_name: ORName | None = None  # whom an interpersonal message of X.400 names as its originator
    embedded: tuple[smime.Embedded, ...] = ()  # protected parts inside the content
    flags: Flags = ()

    @property
    def encrypted(self) -> bool:
        return self.kind in ENCRYPTED


@dataclass(frozen=True, slots=True)
class Message:
    """Header fields and the root layer; `octets` is all of it as received."""

    octets: Octets
    header: Header
    originators: FromInfo
    root: Layer
    or_names: tuple[ORName, ...] = ()  # originators that X.400 names

    @property
    def names(self) -> tuple[Mailbox | ORName, ...]:
        """All whom the message is said to be from."""
        return (*self.originators.mailboxes, *self.or_names)

    @property
    def stated(self) -> tuple[str, ...]:
        """The same as text."""
        return tuple(name.text for name in self.names)

    @property
    def body(self) -> memoryview:
        """What stands behind the header, as received."""
        return memoryview(self.octets)[len(self.header.raw) + len(self.header.separator) :]

    def spine(self) -> tuple[Layer, ...]:
        """The layers from outside in."""
        return tuple(spine(self.root))


def spine(layer: Layer | None) -> Iterator[Layer]:
    """A layer and what it encloses, from outside in."""
    while layer is not None:
        yield layer
        layer = layer.child


def peel(
    octets: Octets,
    keyring: Sequence[Credential] = (),
    limits: Limits = DEFAULT,
    *,
    sniff_suffix: bool = True,
    archive: bool = False,
    shared_keys: Sequence[SharedKey] = (),
) -> Message:
    """Take a message apart as far as the credentials and shared keys open it; `archive` opens ciphers of old too
    (decisions A-47).

    Raises MalformedMessage or LimitExceeded where there is no header to speak of; whatever is wrong further inside
    becomes a flag of an `unsupported` layer. Decryption happens here; that a layer opened says nothing about who made
    it. Raises StoreUnavailable where a large message finds no room for what is taken out of it.
    """
    if len(octets) > limits.size:
        raise LimitExceeded("size", f"a message of {len(octets)} octets, allowed are {limits.size}")
    header, body = fields.split_message(octets, limits)
    peeler = _Peeler(tuple(keyring), limits, sniff_suffix, archive, tuple(shared_keys))
    own = fields.entity_header(header)
    root = peeler.split(fields.entity_from(own, body), own, body, "1", protected=False)
    return Message(octets, header, addresses.parse_from(header), root)


def peel_content(
    content: Content,
    originators: Iterable[str | ORName],
    keyring: Sequence[Credential] = (),
    limits: Limits = DEFAULT,
) -> Message:
    """Take apart what X.400 carries (RFC 3855), or CMS from anywhere, as id-ct-contentInfo.

    No header says who sent it: `originators` are who the envelope says, or whoever brought it, by mail address or by
    the name they have in X.400. Raises LimitExceeded, MalformedMessage for an address that is none.
    """
    if len(content.octets) > limits.size:
        raise LimitExceeded("size", f"a message of {len(content.octets)} octets, allowed are {limits.size}")
    peeler = _Peeler(tuple(keyring), limits, False)
    if content.type == oids.ID_DATA:
        root = peeler.entity(content.octets, "1", protected=False)
    else:
        root = peeler.content(content.type, content.octets, "1")
    stated = tuple(originators)
    mailboxes = tuple(addresses.parse_address(name) for name in stated if isinstance(name, str))
    info = FromInfo(mailboxes, bool(stated), "" if stated else "nobody is named as the originator")
    or_names = tuple(name for name in stated if isinstance(name, ORName))
    return Message(content.octets, Header((), b""), info, root, or_names)


def peel_entity(entity: Octets, keyring: Sequence[Credential] = (), limits: Limits = DEFAULT) -> Layer:
    """Take apart a MIME entity that stands by itself, such as what was decrypted."""
    return _Peeler(tuple(keyring), limits).entity(entity, "1", protected=True)


def peel_part(
    part: smime.Embedded, around: Header, keyring: Sequence[Credential] = (), limits: Limits = DEFAULT
) -> Message:
    """Take apart a protected part inside a content as if it had come alone, under the header of the attached message
    that it is in, or else `around`, that of the message it came in (decisions A-10)."""
    header = around if part.header is None else part.header
    root = _Peeler(tuple(keyring), limits).entity(part.entity, "1", protected=False)
    return Message(part.entity, header, addresses.parse_from(header), root)


def shared(spine: Iterable[Layer], count: int, limits: Limits) -> Limits:
    """The limits for each of `count` parts inside the content of a spine, so that all together stay within `limits`."""
    inflated = sum(len(layer.content) for layer in spine if layer.kind == "compressed" and layer.content is not None)
    return dataclasses.replace(
        limits,
        depth=max(1, limits.depth // 2),
        embedded=(limits.embedded - count) // count,
        expanded=max(0, limits.expanded - inflated) // count,
    )


@dataclass(frozen=True, slots=True)
class _Peeler:
    keyring: tuple[Credential, ...]
    limits: Limits
    sniff_suffix: bool = True
    archive: bool = False
    shared_keys: tuple[SharedKey, ...] = ()

    def entity(self, entity: Octets, layer_id: str, *, protected: bool) -> Layer:
        """The layer that a MIME entity is."""
        if layer_id.count(".") >= self.limits.depth:
            return Layer(layer_id, "unsupported", "opaque", entity, flags=(("limit.depth", "layers nested too deep"),))
        try:
            header, body = fields.split_message(entity, self.limits)
        except LimitExceeded as error:
            return Layer(layer_id, "unsupported", "opaque", entity, flags=((f"limit.{error.limit}", str(error)),))
        return self.split(entity, header, body, layer_id, protected=protected)

    def split(
        self, entity: Octets | Pieces, header: Header, body: memoryview, layer_id: str, *, protected: bool
    ) -> Layer:
        """The same for an entity whose header and body are known."""
        try:
            found = smime.recognise_split(header, body, self.limits, self.sniff_suffix)
        except LimitExceeded as error:
            return Layer(layer_id, "unsupported", "opaque", entity, flags=((f"limit.{error.limit}", str(error)),))
        except MalformedMessage as error:
            return Layer(layer_id, "unsupported", "opaque", entity, flags=(("mime.malformed", str(error)),))
        flags = found.flags
        match found:
            case smime.Pkcs7(der=octets):
                layer = self.content_info(octets, entity, layer_id, detached=None)
                if found.sniffed and layer.kind == "unsupported":  # only its file name said that it was CMS
                    return self.plain(entity, header, body, layer_id, flags, protected=protected)
                if found.smime_type and layer.kind in SMIME_TYPES and not _fits(found.smime_type, layer):
                    said, expected = found.smime_type[:40], smime_type(layer)
                    flags += (("mime.smime_type", f"smime-type says {said!a}, the structure is {expected}"),)
            case smime.ClearSigned(part=part, signature_der=octets):
                # lone LF is what files have: the digest is over CRLF (RFC 8551 3.1.1)
                signed = part if canonical.is_canonical(part) else in_one_place(canonical.canonical(part))
                layer = self.content_info(octets, entity, layer_id, detached=signed)
            case _:
                return self.plain(entity, header, body, layer_id, flags, protected=protected)
        flags += header.problems
        return dataclasses.replace(layer, flags=flags + layer.flags) if flags else layer

    def plain(
        self, entity: Octets | Pieces, header: Header, body: memoryview, layer_id: str, flags: Flags, *, protected: bool
    ) -> Layer:
        """What is no security layer: content, or right below a layer the wrapper that protects a header."""
        inner, inner_from, wrapped, child = None, None, None, None
        embedded: tuple[smime.Embedded, ...] = ()
        try:
            if protected and (inner := header_protection.protected(header, body, self.limits)) is not None:
                wrapped, inner = inner.wrapped, inner if inner.header.fields else None
            if inner is not None and inner.header.first("from") is not None:
                inner_from = addresses.parse_from(inner.header)
            if wrapped is not None:
                child = self.entity(
                    in_one_place(fields.entity_of(wrapped, self.limits)), f"{layer_id}.1", protected=True
                )
            elif (x400 := self.x400_entity(entity, header, body, layer_id)) is not None:
                return dataclasses.replace(x400, protected=inner, inner_from=inner_from, flags=flags + x400.flags)
            else:
                embedded = smime.embedded_split(header, body, self.limits)
        except LimitExceeded as error:
            flags = (*flags, (f"limit.{error.limit}", str(error)))
        except MalformedMessage as error:
            flags = (*flags, ("mime.malformed", str(error)))
        kind: Kind = "content" if child is None else "rfc822"
        content = entity if wrapped is None else wrapped
        return Layer(
            layer_id,
            kind,
            "opaque",
            entity,
            content,
            child=child,
            protected=inner,
            inner_from=inner_from,
            embedded=embedded,
            flags=flags,
        )

    def content_info(self, octets: Octets, entity: Octets | Pieces, layer_id: str, detached: Octets | None) -> Layer:
        """The layer in a ContentInfo; `detached` is what a signature stands beside."""
        form: Form = "opaque" if detached is None else "clear"
        try:
            info = content_info.parse(octets, self.limits)
        except LimitExceeded as error:
            return Layer(layer_id, "unsupported", form, entity, flags=((f"limit.{error.limit}", str(error)),))
        except MalformedMessage as error:
            return Layer(layer_id, "unsupported", form, entity, flags=(("cms.malformed", str(error)),))
        layer = self.cms(info.content_type, info.content, entity, form, layer_id, detached)
        if info.trailing:
            text = f"{info.trailing} octets follow the structure"
            layer = dataclasses.replace(layer, flags=(*layer.flags, ("cms.trailing", text)))
        return layer

    def cms(
        self,
        content_type: str,
        value: Octets,
        entity: Octets | Pieces,
        form: Form,
        layer_id: str,
        detached: Octets | None,
    ) -> Layer:
        """The layer that a CMS content type is."""
        try:
            match content_type:
                case oids.ID_SIGNED_DATA:
                    return self.signed(
                        signed_data.parse_signed_data(value, self.limits), entity, form, layer_id, detached
                    )
                case oids.ID_ENVELOPED_DATA | oids.ID_CT_AUTH_ENVELOPED_DATA if detached is None:
                    parsed = enveloped_data.parse_enveloped(content_type, value, self.limits)
                    return self.enveloped(parsed, entity, form, layer_id)
                case oids.ID_CT_COMPRESSED_DATA if detached is None:
                    compressed = compressed_data.parse_compressed(value, self.limits)
                    content = compressed_data.inflate(compressed, self.limits)
                    inside = dataclasses.replace(self, limits=compressed_data.left(compressed, content, self.limits))
                    child = inside.content(compressed.content_type, content, f"{layer_id}.1")
                    return Layer(layer_id, "compressed", form, entity, content, compressed.content_type, child=child)
        except LimitExceeded as error:
            return Layer(layer_id, "unsupported", form, entity, flags=((f"limit.{error.limit}", str(error)),))
        except MalformedMessage as error:
            return Layer(layer_id, "unsupported", form, entity, flags=(("cms.malformed", str(error)),))
        except Unsupported as error:
            return Layer(layer_id, "unsupported", form, entity, flags=(("cms.unsupported", str(error)),))
        text = f"content type {oids.name(content_type)} is not handled"
        return Layer(layer_id, "unsupported", form, entity, flags=(("cms.unsupported", text),))

    def signed(
        self, parsed: SignedData, entity: Octets | Pieces, form: Form, layer_id: str, detached: Octets | None
    ) -> Layer:
        content = parsed.content
        flags: list[tuple[str, str]] = []
        if detached is not None:
            if content is not None:
                text = "the signature part has a content of its own"
                return Layer(layer_id, "unsupported", form, entity, flags=(("mime.signature_has_content", text),))
            content = detached
        kind: Kind = "signed"
        if not parsed.signers:
            kind = "null" if content is not None else "certs_only"
            if kind == "null" and parsed.content_type != oids.ID_DATA:
                flags.append(("null.econtenttype", f"the content is {oids.name(parsed.content_type)}"))
            if detached is not None:
                flags.append(("null.detached", "multipart/signed around a signature without signers"))
        elif content is None:
            flags.append(("cms.no_content", f"{len(parsed.signers)} signers, and no content within or beside"))
        child = None if content is None else self.content(parsed.content_type, content, f"{layer_id}.1")
        if child is not None and child.kind == "null" and child.form == "direct":
            child = self.hinted(parsed, child)
        return Layer(
            layer_id, kind, form, entity, content, parsed.content_type, signed=parsed, child=child, flags=tuple(flags)
        )

    def hinted(self, parsed: SignedData, null: Layer) -> Layer:
        """A null layer without MIME, whose content is what contentHints of the signature around it says.

        Its own eContentType has to be id-data (RFC 3183 3), which says nothing of an X.400 content.
        """
        hints = {_content_hint(signer) for signer in parsed.signers}
        hint = hints.pop() if len(hints) == 1 else None
        if hint not in INTERPERSONAL or null.content is None or null.content_type != oids.ID_DATA:
            return null
        return dataclasses.replace(null, child=self.content(hint, in_one_place(null.content), f"{null.id}.1"))

    def enveloped(self, parsed: Enveloped, entity: Octets | Pieces, form: Form, layer_id: str) -> Layer:
        kind: Kind = "enveloped" if parsed.kind == "enveloped" else "auth_enveloped"
        layer = Layer(layer_id, kind, form, entity, parsed.ciphertext, parsed.content_type, enveloped=parsed)
        if not enveloped_data.addressed_to(parsed, self.keyring, self.shared_keys):
            return dataclasses.replace(layer, closed="not_for_us")
        if enveloped_data.is_outdated(parsed, self.keyring, self.shared_keys):
            how = "opened as in an archive" if self.archive else "opened in archives only"
            layer = dataclasses.replace(layer, flags=(("enc.outdated", f"{parsed.cipher}: {how}"),))
        try:
            opened = enveloped_data.decrypt(
                parsed, self.keyring, self.limits, shared_keys=self.shared_keys, archive=self.archive
            )
        except DecryptionFailed:
            return dataclasses.replace(layer, closed="failed")
        child = self.content(parsed.content_type, opened.plaintext, f"{layer_id}.1")
        return dataclasses.replace(layer, opened=opened, child=child)

    def content(self, content_type: str, content: Octets, layer_id: str) -> Layer:
        """What a layer encloses."""
        if content_type == oids.ID_DATA:
            return self.entity(content, layer_id, protected=True)
        if layer_id.count(".") >= self.limits.depth:
            return Layer(layer_id, "unsupported", "direct", content, flags=(("limit.depth", "layers nested too deep"),))
        if content_type == oids.ID_CT_CONTENT_INFO or (content_type in DIRECT and _is_content_info(content)):
            return dataclasses.replace(self.content_info(content, content, layer_id, None), form="direct")
        if content_type in DIRECT:  # RFC 3854: the type itself, no ContentInfo and no MIME between
            return self.cms(content_type, content, content, "direct", layer_id, None)
        return self.x400(content_type, content, content, "direct", layer_id)

    def x400_entity(self, entity: Octets | Pieces, header: Header, body: memoryview, layer_id: str) -> Layer | None:
        """An X.400 content that MIME carries as such (RFC 3854 3.5); None for everything else."""
        try:
            found = x400_content.read(header, body, self.limits)
        except LimitExceeded:
            raise
        except (MalformedMessage, Unsupported) as error:
            return Layer(layer_id, "content", "opaque", entity, entity, flags=(("x400.malformed", str(error)),))
        return None if found is None else self.x400(found.type, found.octets, entity, "opaque", layer_id)

    def x400(self, content_type: str, content: Octets, entity: Octets | Pieces, form: Form, layer_id: str) -> Layer:
        """What is neither CMS nor MIME: X.400's own, or something nobody here knows."""
        layer = Layer(layer_id, "content", form, entity, content, content_type)
        if content_type not in INTERPERSONAL:
            return layer
        try:
            return dataclasses.replace(layer, or_name=heading.originator(content, self.limits))
        except MalformedMessage as error:
            return dataclasses.replace(layer, flags=(("x400.malformed", str(error)),))


def _content_hint(signer: SignerInfo) -> str | None:
    """The content type in the one contentHints attribute of a signer."""
    found = signer.signed_attributes.get(oids.ID_AA_CONTENT_HINT) if signer.signed_attributes is not None else ()
    if len(found) != 1 or len(found[0].values) != 1:
        return None
    try:
        return ContentHints.read(found[0].values[0]).content_type
    except MalformedMessage:
        return None


def _is_content_info(content: Octets) -> bool:
    """Whether direct content is wrapped in a ContentInfo, as Bouncy Castle does: that begins with its type."""
    reader = der.Reader(content)
    try:
        reader.enter(der.SEQUENCE)
        return reader.peek() == der.OID
    except MalformedMessage:
        return False


def in_mime(layer: Layer) -> bool:
    """Whether a layer can stand as a MIME entity: what is nested directly (RFC 3854) only if its type is known."""
    return layer.form != "direct" or layer.kind in CONTENT_TYPES or layer.content_type in INTERPERSONAL


def mime_entity(layer: Layer) -> Octets | Pieces:
    """The MIME entity of a layer, as received; a direct one gets the MIME header it never had.

    Raises Unsupported where `in_mime` says no.
    """
    if layer.form != "direct":
        return join(layer.entity)
    if not in_mime(layer):
        raise Unsupported(f"content of type {oids.name(layer.content_type)} has no form in MIME")
    if layer.kind not in CONTENT_TYPES:
        return x400_content.write(Content(layer.content_type, in_one_place(layer.entity)))
    return smime.pkcs7_mime(as_content_info(layer), smime_type(layer), SMIME_TYPES[layer.kind][1])


def as_content_info(layer: Layer) -> Octets | Pieces:
    """The ContentInfo of a layer of CMS that came without MIME."""
    value = in_one_place(layer.entity)
    return value if _is_content_info(value) else content_info.wrap(CONTENT_TYPES[layer.kind], value)


def smime_type(layer: Layer) -> str:
    """What mail calls a layer of CMS: its structure, or what protects an X.400 content in it (RFC 3854 3.4.1)."""
    if layer.kind == "signed" and layer.content_type == oids.ID_CT_RECEIPT:
        return "signed-receipt"  # RFC 2634 2.4
    inner = _innermost(layer)
    if inner.child is not None and inner.child.content_type in INTERPERSONAL:
        return "enveloped-x400" if inner.encrypted else "signed-x400"
    return SMIME_TYPES[layer.kind][0]


def _fits(stated: str, layer: Layer) -> bool:
    """Whether smime-type is right, as far as anybody can see: an X.400 content may lie in what is closed."""
    right = smime_type(layer)
    if stated.lower() == right.lower():
        return True
    if right == "signed-receipt":
        return False
    if stated.lower() == SMIME_TYPES[layer.kind][0].lower():  # its structure alone
        return True
    inner = _innermost(layer)
    unseen = inner.child is None or inner.child.kind == "content"
    return stated.lower() in ("signed-x400", "enveloped-x400") and unseen and inner.content_type != oids.ID_DATA


def _innermost(layer: Layer) -> Layer:
    """The innermost layer of CMS that stands in this one without MIME between."""
    while layer.child is not None and layer.child.form == "direct" and layer.child.kind in CONTENT_TYPES:
        layer = layer.child
    return layer


def null_layer(entity: Octets | Pieces) -> Octets | Pieces:
    """The entity inside the empty signature of RFC 3183 section 3: SignedData without signers, its content in it."""
    return smime.pkcs7_mime(signed_data.null_layer(entity), "signed-data")


def unopened(layers: Iterable[Layer], keyring: Iterable[Credential]) -> tuple[Certificate, ...]:
    """Our certificates that layers are encrypted to which their keys did not open (RFC 2634 6)."""
    closed = [layer.enveloped for layer in layers if layer.closed == "failed" and layer.enveloped is not None]
    named = [identifier for one in closed for recipient in one.recipients for identifier in recipient.identifiers]
    own = (credential.certificate for credential in keyring)
    return tuple(certificate for certificate in own if any(identifier.matches(certificate) for identifier in named))


def carries(layer: Layer, oid: str) -> bool:
    """Whether a SignerInfo of a layer has this signed attribute; whether it holds is for `check` to say."""
    return layer.signed is not None and any(
        s.signed_attributes is not None and s.signed_attributes.get(oid) for s in layer.signed.signers
    )


# the letter of each kind but "signed" in RFC notation (CONTRACT.md section 3)
SYMBOLS: Final[dict[str, str]] = {
    "null": "S0",
    "enveloped": "E",
    "auth_enveloped": "E",
    "compressed": "C",
    "rfc822": "M",
    "content": "OC",
    "certs_only": "CERTS",
    "unsupported": "X",
}
ROLES_IN_ORDER: Final = ("originator", "domain", "review", "attributes")


def signature_symbol(types: Iterable[str], *, history: bool = False) -> str:
    """A signed layer in RFC notation: S[domain], S[unspecified]+mlh."""
    order = {name: position for position, name in enumerate(ROLES_IN_ORDER)}
    shown = "+".join(sorted(types, key=lambda name: order.get(name, len(order))))
    return f"S[{shown or 'unspecified'}]" + ("+mlh" if history else "")


def nested(symbols: Iterable[str]) -> str:
    """Symbols, outermost first, in RFC notation: E(S[domain](S0(OC)))."""
    text = ""
    for symbol in reversed(tuple(symbols)):
        text = f"{symbol}({text})" if text else symbol
    return text
