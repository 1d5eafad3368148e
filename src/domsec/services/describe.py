"""A message without a verdict: layers, who says that they signed, attributes, recipients (`domsec show`).

Everything here is what the message says of itself. No signature is verified, no certificate judged, and nothing is
raised for what a stranger sent; what cannot be read is shown as octets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domsec import der, oids
from domsec.cms import attributes, multiple_signatures
from domsec.cms.algorithms import DIGESTS
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.countersignatures import Countersignature, countersignatures
from domsec.cms.enveloped_data import Opened
from domsec.cms.recipients import RecipientInfo
from domsec.cms.recipients.key_encryption_key import WrappedKey
from domsec.cms.signed_data import SignerInfo, names_certificate
from domsec.errors import DomsecError, MalformedMessage
from domsec.ess.labels import EquivalentLabels, ESSSecurityLabel
from domsec.ess.lists import MLExpansionHistory
from domsec.ess.names import GeneralNames
from domsec.ess.receipts import ContentHints, ContentIdentifier, ContentReference, Receipt, ReceiptRequest
from domsec.ess.secure_headers import SecureHeaderFields
from domsec.mhs.names import ORAddress
from domsec.mime.content_type import parse_content_type
from domsec.mime.fields import Field, split_message
from domsec.octets import in_one_place
from domsec.services import ess_attributes, signature_type
from domsec.services.ess_attributes import identifier_text, name_words
from domsec.services.layers import SYMBOLS, Layer, Message, carries, nested, signature_symbol
from domsec.services.signature_type import Reading, SignatureType
from domsec.services.verdict import JSON, Embedded, EncryptionVerdict, Flag, From, document, flag, unreadable
from domsec.trust.addresses import addresses, or_addresses, subject_text
from domsec.trust.names import escaped, name_text

ROLE_ORDER: Final = tuple(SignatureType)
_SHOWN_OCTETS: Final = 32
_SHOWN: Final = 16  # of a kind, in one value


@dataclass(frozen=True, slots=True)
class CountersignerDescription:
    """One countersignature, and those over it."""

    identifier: str
    subject: str | None
    issuer: str | None
    serial: str | None  # hexadecimal
    sha256: str | None
    addresses: tuple[str, ...]
    digest: str
    algorithm: str
    signing_time: str | None
    countersignatures: tuple[CountersignerDescription, ...]


@dataclass(frozen=True, slots=True)
class SignerDescription:
    """One SignerInfo. The certificate is the one in the message that it names, if there is one."""

    identifier: str
    subject: str | None
    issuer: str | None
    serial: str | None  # hexadecimal
    sha256: str | None
    addresses: tuple[str, ...]
    x400_addresses: tuple[str, ...]
    types: tuple[str, ...] | None  # None: the attribute is absent
    digest: str
    algorithm: str
    signing_time: str | None
    attributes: Mapping[str, str]  # OID to name, signed ones
    values: Mapping[str, str]  # OID to value in words
    ess: Mapping[str, JSON]  # name to value of those of RFC 2634; None: unreadable, or not there exactly once
    unsigned: Mapping[str, str]  # OID to name, of attributes that nobody vouches for
    countersignatures: tuple[CountersignerDescription, ...]


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One layer. `protected` are the header fields inside it, None if it has none of its own."""

    id: str
    kind: str
    form: str
    signers: tuple[SignerDescription, ...]
    encryption: EncryptionVerdict | None
    expansion_history: bool
    content_type: str  # of what the layer encloses; of the end of the spine what it is itself
    octets: int  # of the layer as it came
    certificates: tuple[str, ...]
    crls: int
    protected: tuple[str, ...] | None
    hidden: tuple[str, ...]  # of these the ones that were meant to stand inside only
    receipt: JSON  # what a signed receipt is for; None for other content
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """All that a message says of itself, as far as it could be opened."""

    from_: From
    headers: tuple[str, ...] | None  # protected by some layer, whoever made it
    structure: str
    layers: tuple[LayerDescription, ...]
    embedded: tuple[Embedded, ...]
    flags: tuple[Flag, ...]
    decrypted: bool
    ended_at: str | None = None  # nothing is kept from whoever asks for this

    @property
    def malformed(self) -> bool:
        """Whether part of the message could not be read, or a limit was hit."""
        return unreadable(self.flags)

    def to_json(self) -> dict[str, JSON]:
        """The keys of CONTRACT.md section 4 that judge nothing."""
        return document(self, self.headers)


def describe(message: Message) -> Description:
    """What the layers of a message say. Raises nothing for what is in it."""
    spine = message.spine()
    described = tuple(_layer(layer, spine[:i], spine[i + 1 :]) for i, layer in enumerate(spine))
    inner = [layer.protected.header for layer in spine if layer.protected is not None]
    stated = [layer.inner_from for layer in spine if layer.inner_from is not None]
    embedded = [part.path for layer in spine for part in layer.embedded]
    flags = [f for layer in described for f in layer.flags]
    if embedded:
        flags.append(flag("mime.embedded", f"protected parts inside the content: {', '.join(embedded)}"))
    return Description(
        from_=From(
            message.stated,
            message.originators.valid,
            (
                *(m.address for info in stated for m in info.mailboxes),
                *(layer.or_name.text for layer in spine if layer.or_name is not None),
            ),
        ),
        headers=_field_names(inner[0].fields) if inner else None,
        structure=structure(spine),
        layers=described,
        embedded=tuple(Embedded(path) for path in embedded),
        flags=tuple(dict.fromkeys(flags)),
        decrypted=any(layer.opened is not None for layer in spine),
    )


def structure(spine: Sequence[Layer]) -> str:
    """The layers in RFC notation with the types that their signatures state."""
    return nested(_symbol(layer, spine[i + 1 :]) for i, layer in enumerate(spine))


def _symbol(layer: Layer, below: Sequence[Layer]) -> str:
    if layer.kind != "signed" or layer.signed is None:
        return SYMBOLS[layer.kind]
    readings = [signature_type.read(info) for info in layer.signed.signers]
    types = _types(readings)
    if types is None:
        closed = any(inner.encrypted and inner.opened is None for inner in below)
        alone = not closed and not any(inner.kind == "signed" for inner in below)
        absent = all(reading.state == "absent" for reading in readings)
        types = (SignatureType.ORIGINATOR,) if absent and alone else ()
    return signature_symbol(types, history=carries(layer, oids.ID_AA_ML_EXPAND_HISTORY))


def _types(readings: Sequence[Reading]) -> tuple[SignatureType, ...] | None:
    """The types all signers of a layer state; None where they are absent, broken or differ."""
    agreed = len({(r.state, frozenset(r.oids)) for r in readings}) == 1
    return readings[0].types if agreed and readings[0].state == "valid" else None


def _layer(layer: Layer, above: Sequence[Layer], below: Sequence[Layer]) -> LayerDescription:
    signed = layer.signed
    signers = signed.signers if signed else ()
    readings = [signature_type.read(info) for info in signers]
    flags = [flag(code, text, layer.id) for code, text in layer.flags]
    flags += [flag(code, text, layer.id) for reading in readings for code, text in reading.flags]
    if len({(r.state, frozenset(r.oids)) for r in readings}) > 1:
        flags.append(flag("sigtype.inconsistent", "", layer.id))
    flags += [flag(code, text, layer.id) for code, text in ess_attributes.found_in(layer, signers, above, below)]
    return LayerDescription(
        id=layer.id,
        kind=layer.kind,
        form=layer.form,
        signers=tuple(
            _signer(info, reading, signed.certificates if signed else ())
            for info, reading in zip(signers, readings, strict=True)
        ),
        encryption=encryption(layer),
        expansion_history=carries(layer, oids.ID_AA_ML_EXPAND_HISTORY),
        content_type=_content_type(layer),
        octets=len(layer.entity),
        certificates=tuple(subject_text(c) for c in signed.certificates) if signed else (),
        crls=len(signed.crls) if signed else 0,
        protected=_field_names(layer.protected.header.fields) if layer.protected else None,
        hidden=_field_names(layer.protected.hidden) if layer.protected else (),
        receipt=_receipt(layer),
        flags=tuple(dict.fromkeys(flags)),
    )


def _field_names(found: Iterable[Field]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(field.name for field in found))


def _receipt(layer: Layer) -> JSON:
    if layer.kind != "content" or layer.content_type != oids.ID_CT_RECEIPT:
        return None
    try:
        return ess_attributes.plain(Receipt.read(in_one_place(layer.entity)))
    except MalformedMessage:
        return None


def _content_type(layer: Layer) -> str:
    if layer.kind not in ("content", "rfc822", "unsupported") or layer.form == "direct":
        return oids.name(layer.content_type)
    try:
        field = split_message(layer.entity)[0].first("content-type")
        return parse_content_type(field.value).full if field else "text/plain"
    except DomsecError:
        return "a type that cannot be read"


def _named(info: SignerInfo, offered: Iterable[Certificate]) -> Certificate | None:
    return next((c for c in offered if info.matches(c) and names_certificate(info, c) is not False), None)


def _signer(info: SignerInfo, reading: Reading, offered: Sequence[Certificate]) -> SignerDescription:
    certificate = _named(info, offered)
    stated = info.signed_attributes.items if info.signed_attributes else ()
    others = info.unsigned_attributes.items if info.unsigned_attributes else ()
    return SignerDescription(
        identifier=identifier_text(info.sid),
        subject=subject_text(certificate) if certificate else None,
        issuer=name_text(certificate.issuer) if certificate else None,
        serial=f"{certificate.serial:x}" if certificate else None,
        sha256=certificate.sha256 if certificate else None,
        addresses=addresses_of(certificate),
        x400_addresses=tuple(address.text for address in or_addresses_of(certificate)),
        types=None if reading.state == "absent" else tuple(str(t) for t in reading.types),
        digest=oids.name(info.digest_algorithm.oid),
        algorithm=oids.name(info.signature_algorithm.oid),
        signing_time=_signing_time(info),
        attributes={a.oid: oids.name(a.oid) for a in stated},
        values={a.oid: value_text(a) for a in stated},
        ess=ess_attributes.decoded(info),
        unsigned={a.oid: oids.name(a.oid) for a in others},
        countersignatures=_countersigners(info, offered),
    )


def _signing_time(info: SignerInfo) -> str | None:
    when = attributes.stated_signing_time(info.signed_attributes)
    return when.isoformat() if when else None


def _countersigners(info: SignerInfo, offered: Sequence[Certificate]) -> tuple[CountersignerDescription, ...]:
    """Those that can be read; that one cannot is for who judges to say."""
    try:
        return tuple(_countersigner(one, offered) for one in countersignatures(info))
    except MalformedMessage:
        return ()


def _countersigner(one: Countersignature, offered: Sequence[Certificate]) -> CountersignerDescription:
    certificate = _named(one.info, offered)
    return CountersignerDescription(
        identifier=identifier_text(one.info.sid),
        subject=subject_text(certificate) if certificate else None,
        issuer=name_text(certificate.issuer) if certificate else None,
        serial=f"{certificate.serial:x}" if certificate else None,
        sha256=certificate.sha256 if certificate else None,
        addresses=addresses_of(certificate),
        digest=oids.name(one.info.digest_algorithm.oid),
        algorithm=oids.name(one.info.signature_algorithm.oid),
        signing_time=_signing_time(one.info),
        countersignatures=tuple(_countersigner(inner, offered) for inner in one.countersignatures),
    )


# --- certificates and recipients ------------------------------------------------------------------------------------


def addresses_of(certificate: Certificate | None) -> tuple[str, ...]:
    """The addresses of a certificate; none if they cannot be read."""
    try:
        return addresses(certificate) if certificate else ()
    except DomsecError:
        return ()


def or_addresses_of(certificate: Certificate | None) -> tuple[ORAddress, ...]:
    """The X.400 addresses of a certificate; none if they cannot be read."""
    try:
        return or_addresses(certificate) if certificate else ()
    except DomsecError:
        return ()


_OTHERS: Final = {
    "pwri": "a password, which is not supported",
    "unknown": "recipient information that cannot be read",
}


def opener(opened: Opened) -> str:
    """Whose key opened a layer."""
    return "a shared key" if opened.credential is None else subject_text(opened.credential.certificate)


def recipient_text(recipient: RecipientInfo) -> str:
    if isinstance(recipient, WrappedKey):
        return f"kekri {recipient.management}: the shared key {recipient.key_identifier[:32].hex()}"
    if not recipient.identifiers:
        return f"{recipient.kind}: {_OTHERS.get(recipient.kind, f'{recipient.management}, which is not supported')}"
    whom = ", ".join(identifier_text(i) for i in recipient.identifiers)
    return f"{recipient.kind} {recipient.management}: {whom}"


def encryption(layer: Layer) -> EncryptionVerdict | None:
    """What is known of an encryption layer; None for another one."""
    if layer.enveloped is None:
        return None
    opened = layer.opened
    return EncryptionVerdict(
        opened=opened is not None,
        opened_by=opener(opened) if opened else None,
        cipher=oids.name(layer.enveloped.algorithm.oid),
        authenticated=layer.kind == "auth_enveloped",
        recipients=tuple(recipient_text(r) for r in layer.enveloped.recipients),
        originator=tuple(subject_text(c) for c in layer.enveloped.originator_certificates),
    )


# --- values of attributes -------------------------------------------------------------------------------------------


def value_text(attribute: Attribute) -> str:
    """The values of an attribute in words, or as octets where this room does not know their syntax. One line."""
    read = _VALUES.get(attribute.oid, _generic)
    return escaped(", ".join(_or_octets(read, value) for value in attribute.values)) or "no value"


def _or_octets(read: Callable[[bytes], str], value: bytes) -> str:
    try:
        return read(value)
    except DomsecError:
        return _octets(value)


def _octets(value: bytes) -> str:
    shown = value[:_SHOWN_OCTETS].hex()
    return f"{shown}... ({len(value)} octets)" if len(value) > _SHOWN_OCTETS else shown


def _oid(value: bytes) -> str:
    reader = der.Reader(value)
    found = oids.name(reader.oid())
    reader.end()
    return found


def _digest(value: bytes) -> str:
    reader = der.Reader(value)
    found = bytes(reader.octet_string())
    reader.end()
    return _octets(found) if len(found) > 64 else found.hex()


def _time(value: bytes) -> str:
    return attributes.read_signing_time(value).isoformat()


def _signature_types(value: bytes) -> str:
    reader = der.Reader(value)
    reader.enter(der.SEQUENCE)
    found = []
    while not reader.at_end():
        oid = reader.oid()
        found.append(str(signature_type.TYPES.get(oid, oid)))
    reader.leave()
    reader.end()
    return "+".join(found)


def _capabilities(value: bytes) -> str:
    return " ".join(oids.name(algorithm.oid) for algorithm in attributes.read_smime_capabilities(value))


def _protection(value: bytes) -> str:
    digest, signature = attributes.read_cms_algorithm_protection(value)
    return f"{oids.name(digest.oid)} with {oids.name(signature.oid) if signature else 'a MAC'}"


def _siblings(value: bytes) -> str:
    found = multiple_signatures.read(value)
    return f"{oids.name(found.signature.oid)} with {oids.name(found.digest.oid)}"


def _key_preference(value: bytes) -> str:
    preferred = attributes.read_encryption_key_preference(value)
    return _octets(value) if preferred is None else identifier_text(preferred)


def _certificate_hashes(oid: str) -> Callable[[bytes], str]:
    def read(value: bytes) -> str:
        hashes = attributes.read_signing_certificate(Attribute(oid, (value,), value))
        rows = [(DIGESTS.get(h.digest), h) for h in hashes]
        return " ".join(f"{row.name if row else h.digest}:{h.value.hex()[:32]}" for row, h in rows)

    return read


def _label(value: bytes) -> str:
    return _label_words(ESSSecurityLabel.read(value))


def _label_words(label: ESSSecurityLabel) -> str:
    words = [f"policy {label.security_policy_identifier}"]
    if label.security_classification is not None:
        words.append(f"classification {label.security_classification}")
    if label.privacy_mark is not None:
        words.append(f'"{label.privacy_mark.text}"')
    words += [f"category {c.type} {_octets(c.value)}" for c in label.security_categories[:_SHOWN]]
    if len(label.security_categories) > _SHOWN:
        words.append(f"and {len(label.security_categories) - _SHOWN} more")
    return " ".join(words)


def _equivalent_labels(value: bytes) -> str:
    return _some([_label_words(label) for label in EquivalentLabels.read(value).labels])


def _history(value: bytes) -> str:
    expansions = []
    for entry in MLExpansionHistory.read(value).entries:
        policy = entry.receipt_policy
        receipts = ""
        if policy is not None:
            names = f" {_names(policy.names)}" if policy.names else ""
            receipts = f", receipts {policy.choice}{names}"
        who = identifier_text(entry.mail_list_identifier)
        expansions.append(f"{who} at {entry.expansion_time.isoformat()}{receipts}")
    return _some(expansions)


def _receipt_request(value: bytes) -> str:
    request = ReceiptRequest.read(value)
    asked = request.receipts_from
    whom = _names(asked) if isinstance(asked, tuple) else asked
    identifier = _octets(request.signed_content_identifier)
    return f"receipts from {whom or 'nobody'} to {_names(request.receipts_to)} for {identifier}"


def _names(names: Iterable[GeneralNames]) -> str:
    return _some([" or ".join(name_words(name) for name in entity[:_SHOWN]) for entity in names])


def _some(texts: Sequence[str]) -> str:
    rest = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + rest


def _hints(value: bytes) -> str:
    hints = ContentHints.read(value)
    described = f' "{hints.content_description}"' if hints.content_description else ""
    return f"{oids.name(hints.content_type)}{described}"


def _secure_headers(value: bytes) -> str:
    stated = SecureHeaderFields.read(value)
    return _some([f"{f.name}: {f.value} ({f.status})" for f in stated.fields]) + f", {stated.algorithm}"


def _reference(value: bytes) -> str:
    reference = ContentReference.read(value)
    return f"{oids.name(reference.content_type)} {_octets(reference.signed_content_identifier)}"


def _identifier(value: bytes) -> str:
    return _octets(ContentIdentifier.read(value).octets)


_TEXTS: Final = {der.UTF8_STRING: "utf-8", der.PRINTABLE_STRING: "ascii", der.IA5_STRING: "ascii"}


def _generic(value: bytes) -> str:
    """Simple values by their tag."""
    reader = der.Reader(value)
    tag = reader.peek()
    if tag == der.OID:
        return oids.name(reader.oid())
    if tag == der.INTEGER and len(value) <= _SHOWN_OCTETS:
        return str(reader.integer())
    if tag == der.BOOLEAN:
        return str(reader.boolean()).lower()
    if tag in _TEXTS and len(value) <= 200:
        return bytes(reader.primitive(tag)).decode(_TEXTS[tag], "replace")
    return _octets(value)


_VALUES: Final[Mapping[str, Callable[[bytes], str]]] = {
    oids.ID_CONTENT_TYPE: _oid,
    oids.ID_MESSAGE_DIGEST: _digest,
    oids.ID_SIGNING_TIME: _time,
    oids.ID_AA_SIGNATURE_TYPE: _signature_types,
    oids.ID_STI: _signature_types,
    oids.SMIME_CAPABILITIES: _capabilities,
    oids.ID_AA_CMS_ALGORITHM_PROTECT: _protection,
    oids.ID_AA_ENCRYP_KEY_PREF: _key_preference,
    oids.ID_AA_MULTIPLE_SIGNATURES: _siblings,
    oids.ID_AA_SECURITY_LABEL: _label,
    oids.ID_AA_EQUIVALENT_LABELS: _equivalent_labels,
    oids.ID_AA_ML_EXPAND_HISTORY: _history,
    oids.ID_AA_RECEIPT_REQUEST: _receipt_request,
    oids.ID_AA_CONTENT_HINT: _hints,
    oids.ID_AA_CONTENT_REFERENCE: _reference,
    oids.ID_AA_CONTENT_IDENTIFIER: _identifier,
    oids.ID_AA_MSG_SIG_DIGEST: _digest,
    oids.ID_AA_SECURE_HEADER_FIELDS: _secure_headers,
    oids.ID_AA_SIGNING_CERTIFICATE: _certificate_hashes(oids.ID_AA_SIGNING_CERTIFICATE),
    oids.ID_AA_SIGNING_CERTIFICATE_V2: _certificate_hashes(oids.ID_AA_SIGNING_CERTIFICATE_V2),
}
