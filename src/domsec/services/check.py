"""What each layer says (RFC 3183 3.1 to 3.5 and 4.1, spec/algorithms.md (b)).

    first look   each SignerInfo: mathematics, certificate, path, what it says it is
    second pass  roles, encapsulation, coverage: these need what lies below
    conclude     level, originator, flags: in domsec.services.conclude

Checking never fetches and never raises for what a stranger sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from domsec import oids
from domsec.cms import attributes, signed_data
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import ContentDigests, SignerInfo
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORName
from domsec.mime import smime
from domsec.mime.addresses import Mailbox, parse_originators
from domsec.mime.fields import Header
from domsec.services import (
    agreed,
    countersigners,
    describe,
    discovery,
    ess_attributes,
    layers,
    mathematics,
    names,
    siblings,
    signature_type,
)
from domsec.services.catalogue import Severity
from domsec.services.conclude import conclude
from domsec.services.context import Context
from domsec.services.finding import Finding, Signer, all_originators, mailboxes_of, names_in, originator_layer
from domsec.services.layers import ROLES_IN_ORDER, Layer, Message
from domsec.services.names import Entity, Mapping
from domsec.services.peer import Peer
from domsec.services.secure_headers import differences
from domsec.services.signature_type import DOMSEC, SignatureType
from domsec.services.verdict import (
    Address,
    Coverage,
    Embedded,
    Flag,
    SignerVerdict,
    State,
    Verdict,
    flag,
)
from domsec.trust.addresses import addresses, subject_text
from domsec.trust.names import common_names, name_text
from domsec.trust.usage import signing_problems

_FUTURE: Final = timedelta(days=1)  # clocks differ, but not by more (decisions A-49)


@dataclass(frozen=True, slots=True)
class Examination:
    """A message with the findings of its layers, and the verdict drawn from them."""

    message: Message
    findings: tuple[Finding, ...]
    verdict: Verdict


def verify(message: Message, context: Context) -> Verdict:
    """Judge a message. What a person or a program may believe of it is in the Verdict, and nothing else is."""
    return examine(message, context).verdict


def examine(message: Message, context: Context) -> Examination:
    """As `verify`, with the working form of each layer for those who go on with the message."""
    return _examine(message, context, _peer(message, context))


def _peer(message: Message, context: Context) -> Peer | None:
    mailboxes = message.originators.mailboxes
    return context.peers.common(m.domain for m in mailboxes) if mailboxes else None


def _examine(message: Message, context: Context, peer: Peer | None) -> Examination:
    spine = message.spine()
    everybody = all_originators(message, spine)
    findings = [_first_look(layer, everybody, context, peer) for layer in spine]
    findings = _second_pass(findings, message, everybody, context, peer)
    embedded = _embedded(message, spine, context)
    return Examination(message, tuple(findings), conclude(message, tuple(findings), embedded, context, peer))


# --- what is protected inside the content ---------------------------------------------------------------------------


def _embedded(message: Message, spine: Sequence[Layer], context: Context) -> tuple[Embedded, ...]:
    """The protected parts inside the content, each judged as if it had come alone (decisions A-10).

    One after the other, and what they were taken apart into is not kept. All of them together, with those inside them,
    may ask for about as much work as the message that they came in: see `Limits.embedded`.
    """
    parts = [part for layer in spine for part in layer.embedded]
    count = 0 if context.embedded == "named" else min(len(parts), context.limits.embedded)
    if not count:
        return tuple(Embedded(part.path) for part in parts)
    inside = replace(context, limits=layers.shared(spine, count, context.limits))
    judged = [Embedded(part.path, _judged_alone(part, message, inside)) for part in parts[:count]]
    return (*judged, *(Embedded(part.path) for part in parts[count:]))


def _judged_alone(part: smime.Embedded, message: Message, context: Context) -> Verdict | None:
    """The verdict on a part, whose sender agreed on nothing for what others pass on; None if it asks for too much."""
    keyring = context.keyring if context.embedded == "opened" else ()
    alone = layers.peel_part(part, message.header, keyring, context.limits)
    signers = sum(len(layer.signed.signers) for layer in alone.spine() if layer.signed is not None)
    if signers > context.limits.signers:
        return None
    peer = _peer(alone, context)
    return _examine(alone, context, peer and replace(peer, expect_signed=False, expect_encrypted=False)).verdict


# --- one layer ------------------------------------------------------------------------------------------------------


def _first_look(layer: Layer, originators: Sequence[Mailbox | ORName], context: Context, peer: Peer | None) -> Finding:
    flags = [flag(code, text, layer.id) for code, text in (*layer.flags, *agreed.flags(layer, peer))]
    if layer.kind == "null":
        return Finding(layer, state="null", flags=tuple(flags))
    if layer.kind != "signed" or layer.signed is None:
        return Finding(layer, flags=tuple(flags))
    if layer.content is None:
        return Finding(layer, state="invalid", flags=tuple(flags))
    digests = ContentDigests(layer.content)
    signers = tuple(_signer(info, layer, digests, originators, context, peer) for info in layer.signed.signers)
    finding = Finding(layer, signers)
    flags += [flag(code, text, layer.id) for signer in signers for code, text in signer.reading.flags]
    flags += siblings.flags(finding)
    stated = {info.digest_algorithm.oid for info in layer.signed.signers}
    if not stated <= {algorithm.oid for algorithm in layer.signed.digest_algorithms}:
        flags.append(
            flag("cms.digest_algorithms", f"the signers use {', '.join(sorted(map(oids.name, stated)))}", layer.id)
        )
    readings = [signer.reading for signer in signers]
    types: tuple[SignatureType, ...] | None = readings[0].types if readings[0].state == "valid" else None
    if len({(r.state, frozenset(r.oids)) for r in readings}) > 1:
        text = " against ".join(dict.fromkeys("+".join(r.types) or r.state for r in readings))
        flags.append(flag("sigtype.inconsistent", text, layer.id))
        types = None
    return replace(finding, state=siblings.state(finding), types=types, flags=tuple(dict.fromkeys(flags)))


def _signer(
    info: SignerInfo,
    layer: Layer,
    digests: ContentDigests,
    originators: Sequence[Mailbox | ORName],
    context: Context,
    peer: Peer | None,
) -> Signer:
    assert layer.signed is not None
    reading = signature_type.read(info)
    role = any(t in DOMSEC for t in reading.types)
    offered = layer.signed.certificates
    done = mathematics.check(
        info,
        digests,
        layer.content_type,
        mathematics.candidates(info, offered, context),
        context,
        allow_bare=context.allow_no_attributes,  # one without them states no role
        allow_unsorted=not role,
    )
    certificate, crypto, reason = done.certificate, done.crypto, done.reason
    countersignatures, told = countersigners.report(info, offered, context)
    flags = (*done.flags, *told)
    path = None
    usage: tuple[str, ...] = ()
    state: State = crypto
    if certificate is not None and crypto == "valid":
        usage = signing_problems(certificate)
        issuers = signed_data.permitted_issuers(info, (*offered, *context.validator.snapshot.intermediates))
        said = context.found.associations(discovery.of_signer(reading.types, originators, context))
        path = context.path(
            certificate,
            offered,
            role=role,
            peer=peer,
            issuers=issuers,
            associations=said,
            crls=layer.signed.crls,
            ocsp=layer.signed.ocsp,
        )
        if usage:
            state, reason = "invalid", "; ".join(usage)
        elif path.state != "valid":
            state, reason = ("untrusted" if path.state == "untrusted" else "invalid"), path.reason
    signing_time = attributes.stated_signing_time(info.signed_attributes)
    if signing_time is not None and signing_time > context.now + _FUTURE:
        flags = (*flags, ("signing_time.future", f"signed at {signing_time.isoformat()}"))
    verdict = SignerVerdict(
        subject=subject_text(certificate) if certificate else None,
        issuer=name_text(certificate.issuer) if certificate else None,
        serial=f"{certificate.serial:x}" if certificate else None,
        sha256=certificate.sha256 if certificate else None,
        addresses=describe.addresses_of(certificate),
        x400_addresses=tuple(address.text for address in describe.or_addresses_of(certificate)),
        crypto=crypto,
        path=path.state if path else None,
        path_reason=path.reason if path else "",
        revocation=path.revocation if path else None,
        usage=usage,
        types=None if reading.state == "absent" else tuple(str(t) for t in reading.types),
        digest=oids.name(info.digest_algorithm.oid),
        algorithm=oids.name(info.signature_algorithm.oid),
        signing_time=signing_time.isoformat() if signing_time else None,
        attributes={a.oid: oids.name(a.oid) for a in info.signed_attributes.items} if info.signed_attributes else {},
        ess=ess_attributes.decoded(info),
        countersignatures=countersignatures,
        state=state,
        reason=reason,
    )
    return Signer(info, certificate, reading, verdict, flags)


# --- what needs the layers below ------------------------------------------------------------------------------------


def _second_pass(
    findings: list[Finding],
    message: Message,
    originators: tuple[Mailbox | ORName, ...],
    context: Context,
    peer: Peer | None,
) -> list[Finding]:
    done: list[Finding] = list(findings)
    spine = [f.layer for f in findings]
    for i in reversed(range(len(done))):
        finding = _attributed(done[i], spine[:i], spine[i + 1 :], message.header)
        below = done[i + 1 :]
        if finding.layer.kind == "signed":
            done[i] = _roles(finding, below, originators, context, peer)
        elif finding.layer.kind == "null":
            done[i] = _null(finding, done[:i], below)
        elif finding.layer.encrypted:
            done[i] = _encryption(finding, originators, _recipients(message), context, peer)
    return done


def _attributed(finding: Finding, above: Sequence[Layer], below: Sequence[Layer], header: Header) -> Finding:
    """With what there is to say of its ESS attributes (RFC 2634 1.3.4, 3, 4), and of the header fields that its signers
    signed and that are others now (RFC 7508 4.5.2)."""
    layer = finding.layer
    verified = [s.info for s in finding.signers if s.verdict.crypto == "valid"]
    found = ess_attributes.found_in(layer, verified, above, below)
    found += [("header.mismatch", text) for text in differences(verified, header)]
    if not found:
        return finding
    raised = (flag(code, text, layer.id) for code, text in found)
    return replace(finding, flags=tuple(dict.fromkeys((*finding.flags, *raised))))


def _recipients(message: Message) -> tuple[Mailbox, ...] | None:
    """Whom the header names as recipients; None where there is no header."""
    if not message.header.fields:
        return None
    return tuple(m for name in ("to", "cc") for m in parse_originators(message.header, name).mailboxes)


def _is_for(certificate: Certificate, recipients: Iterable[Mailbox]) -> bool:
    """Whether a certificate is that of a person the message is addressed to."""
    found = mailboxes_of(describe.addresses_of(certificate))
    return any(m.same_as(r) for m in found for r in recipients)


def _closed(below: Iterable[Finding]) -> bool:
    return any(f.layer.encrypted and f.layer.opened is None for f in below)


def _roles(
    finding: Finding,
    below: Sequence[Finding],
    originators: tuple[Mailbox | ORName, ...],
    context: Context,
    peer: Peer | None,
) -> Finding:
    layer, certificates = finding.layer, finding.certificates
    signatures = [f for f in below if f.layer.kind in ("signed", "null")]
    closed = _closed(below)
    flags = list(finding.flags)
    roles: list[str] = []
    naming: dict[str, tuple[str, ...]] = {}
    mapping: Mapping | None = None
    if finding.types is None:
        absent = bool(finding.signers) and all(s.reading.state == "absent" for s in finding.signers)
        alone = not closed and not any(f.layer.kind == "signed" for f in below)
        roles.append(("originator" if alone else "unspecified") if absent else "none")
    types = finding.types or ()
    if SignatureType.ORIGINATOR in types:
        roles.append("originator")
    for signed_as in (t for t in DOMSEC if t in types):
        if not signatures:
            flags.append(_nothing_inside(layer, below, signed_as, peer, closed=closed))
        if not certificates:
            continue
        role = names.ROLE_NAMES[signed_as]  # which every signer of the layer has to bear
        found = dict.fromkeys(f for c in certificates for f in names.check_naming(c, role, _agreed(c, peer, context)))
        raised = [flag(code, text, layer.id) for code, text in found]
        flags += raised
        naming[signed_as] = tuple(code for code, _ in found)
        if not any(f.severity is Severity.VIOLATION for f in raised):
            roles.append(str(signed_as))
        if signed_as is SignatureType.DOMAIN:
            signed_by = originator_layer(below)
            entities = [_entity(originator, signed_by, peer) for originator in originators]
            mappings = [names.check_mapping(c, entities, peer, context.is_public_suffix) for c in certificates]
            mapping = next((m for m in mappings if not m.passed), mappings[0])
            if finding.state == "valid" and "domain" in roles and _in_transit(certificates, mapping, context):
                flags.append(flag("domain.transit", "; ".join(text for _, text in mapping.findings), layer.id))
            else:
                flags += [flag(code, text, layer.id) for code, text in mapping.findings]
    if types and not roles:
        roles.append("none")
    address = _address(finding.relied_on, originators) if "originator" in roles else None
    return replace(
        finding,
        roles=tuple(
            sorted(roles, key=lambda r: ROLES_IN_ORDER.index(r) if r in ROLES_IN_ORDER else len(ROLES_IN_ORDER))
        ),
        coverage=_coverage(below),
        naming=naming,
        mapping=mapping,
        address=address,
        flags=tuple(dict.fromkeys(flags)),
    )


def _in_transit(certificates: Iterable[Certificate], mapping: Mapping, context: Context) -> bool:
    """Whether authorities that do not cover the originator are known to sign others' mail on its way (A-59)."""
    if mapping.passed or any(code != "mapping.mismatch" for code, _ in mapping.findings):
        return False
    stated = [names.domain_parts(certificate).domains for certificate in certificates]
    return all(domains and context.transit_domains.issuperset(map(names.written, domains)) for domains in stated)


_OWN: Final = Peer("", naming="mailbox")


def _agreed(certificate: Certificate, peer: Peer | None, context: Context) -> Peer | None:
    """The agreement with the domain; ours is with ourselves, for the certificates that we have."""
    return _OWN if peer is None and certificate in context.own else peer


def _nothing_inside(
    layer: Layer, below: Sequence[Finding], signed_as: SignatureType, peer: Peer | None, *, closed: bool
) -> Flag:
    """A DOMSEC signature with no signature below: seen, not to be seen, or agreed (RFC 3183 3.1.2, A-09, A-12)."""
    if closed:
        shut = next(f.layer.id for f in below if f.layer.encrypted and f.layer.opened is None)
        return flag("encapsulation.unknown", f"layer {shut} is closed", layer.id)
    if peer is not None and peer.clear_unsigned and layer.form == "clear" and signed_as is SignatureType.DOMAIN:
        return flag("naming.convention", "a domain signature in the clear, as agreed with the domain", layer.id)
    inside = below[0].layer.kind if below else "nothing"
    return flag("encapsulation.missing", f"inside is {inside}, and no signature below", layer.id)


def _entity(originator: Mailbox | ORName, signed_by: Finding | None, peer: Peer | None) -> Entity:
    """An originator whom a domain authority has to cover, with the directory name it is known under (A-16).

    That is the one agreed for its mail domain, or the one its own certificate ties to its address. Another signer's is
    good for contradicting only.
    """
    if peer is not None and peer.distinguished_name is not None and isinstance(originator, Mailbox):
        return names.entity(originator, peer.distinguished_name, trusted=True)
    if signed_by is None or not signed_by.crypto_valid:
        return names.entity(originator)
    certificates = [signer.certificate for signer in signed_by.relied_on if signer.certificate is not None]
    for certificate in certificates:
        if any(names.same_originator(originator, name) for name in names_in(certificate)):
            return names.entity(originator, certificate.subject, trusted=signed_by.state == "valid")
    return names.entity(originator, certificates[0].subject if certificates else None)


def _address(signers: Sequence[Signer], originators: Sequence[Mailbox | ORName]) -> Address:
    """Whether the signers' certificates name every originator, those of X.400 by an address of theirs."""
    mail = any(signer.verdict.addresses for signer in signers)
    x400 = any(signer.verdict.x400_addresses for signer in signers)
    if not any([x400 if isinstance(m, ORName) else mail for m in originators] or [mail, x400]):
        return "not_present"
    found = [name for signer in signers for name in names_in(signer.certificate)]
    named = all(any(names.same_originator(m, f) for f in found) for m in originators)
    return "match" if originators and named else "mismatch"


def _coverage(below: Sequence[Finding]) -> Coverage:
    """Whether the signer can be tied to the text, past the encryption that lies between (decisions A-41)."""
    encrypted = [i for i, f in enumerate(below) if f.layer.encrypted]
    if not encrypted:
        return "plaintext"
    if _closed(below):
        return "unknown"
    inside = originator_layer(below[encrypted[-1] + 1 :])
    tied = inside is not None and inside.crypto_valid and inside.address == "match"
    return "through_encryption" if tied else "ciphertext"


def _null(finding: Finding, above: Sequence[Finding], below: Sequence[Finding]) -> Finding:
    flags = list(finding.flags)
    enclosing = next((f for f in reversed(above) if f.layer.kind not in ("rfc822", "null")), None)
    covered = (
        enclosing is not None and enclosing.layer.kind == "signed" and any(t in DOMSEC for t in enclosing.types or ())
    )
    if not covered:
        around = "nothing" if enclosing is None else f"layer {enclosing.layer.id}, {enclosing.layer.kind}"
        flags.append(flag("null.uncovered", f"around it is {around}", finding.layer.id))
    if below and below[0].layer.kind in ("signed", "null"):
        flags.append(
            flag("null.redundant", f"inside is layer {below[0].layer.id}, {below[0].layer.kind}", finding.layer.id)
        )
    return replace(finding, flags=tuple(flags))


def _encryption(
    finding: Finding,
    originators: tuple[Mailbox | ORName, ...],
    recipients: tuple[Mailbox, ...] | None,
    context: Context,
    peer: Peer | None,
) -> Finding:
    """Check the names of who encrypted, and of the authority that this was encrypted to (RFC 3183 4.1)."""
    layer = finding.layer
    assert layer.enveloped is not None
    flags = list(finding.flags)
    role = names.CONFIDENTIALITY_AUTHORITY
    agents = [c for c in layer.enveloped.originator_certificates if _claims(c, role)]
    if not agents:
        others = len(layer.enveloped.originator_certificates)
        text = f"none of {others} certificates in originatorInfo is named {role}" if others else "no originatorInfo"
        flags.append(flag("enc_agent.unknown", text, layer.id))
    for agent in agents:
        entities = tuple(names.entity(m) for m in originators)
        found = names.check_naming(agent, role, peer)
        mapping = names.check_mapping(agent, entities, peer, context.is_public_suffix)
        problems = [text for code, text in found if code != "naming.convention"]
        problems += [text for code, text in mapping.findings]
        if problems:
            flags.append(flag("enc_agent.mapping", "; ".join(problems), layer.id))
    if layer.opened is not None and layer.opened.credential is not None:
        own = layer.opened.credential.certificate
        stated = _claims(own, role)
        if stated or (recipients is not None and not _is_for(own, recipients)):
            severity = None if stated else Severity.WARNING  # perhaps a person who got a blind copy
            found = names.check_naming(own, role, Peer("", naming=context.own_naming))
            flags += [
                flag(code, f"the authority that opened it: {text}", layer.id, severity)
                for code, text in found
                if code != "naming.convention"  # which is ours to know
            ]
    return replace(finding, flags=tuple(flags))


def _claims(certificate: Certificate, role: str) -> bool:
    """Whether a certificate has the role's name anywhere: then it has to follow the whole convention."""
    try:
        stated = [*common_names(certificate), *(a.rpartition("@")[0] for a in addresses(certificate))]
    except MalformedMessage:
        return False
    return any(names.same_name(name, role) for name in stated)
