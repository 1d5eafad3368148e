"""What may be concluded from the layers of a message (RFC 3183 3.2, decisions A-23, A-41, A-59).

The level rests on layers that cover the plaintext and on nothing else; every flag says in which layer and by which
clause. What is not concluded here is not to be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from domsec.cms import attributes
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.mhs.names import ORName
from domsec.mime.addresses import FromInfo, Mailbox, parse_originators
from domsec.mime.fields import Header
from domsec.services import describe, ess_attributes, labelling, names
from domsec.services.catalogue import Severity
from domsec.services.context import Context
from domsec.services.finding import (
    Finding,
    expansion_history,
    inner_from,
    inner_or_names,
    names_in,
    originator_layer,
)
from domsec.services.layers import ENCRYPTED, SYMBOLS, Layer, Message, nested, signature_symbol
from domsec.services.peer import Peer
from domsec.services.signature_type import DOMSEC
from domsec.services.verdict import (
    Embedded,
    Flag,
    From,
    LayerVerdict,
    Level,
    Originator,
    Verdict,
    flag,
)
from domsec.trust.addresses import subject_text
from domsec.trust.names import common_names


def domain_layer(findings: Iterable[Finding]) -> Finding | None:
    """The innermost domain signature that everything is right with (decisions A-59)."""
    return next((f for f in reversed(tuple(findings)) if _domain_holds(f) and f.coverage != "ciphertext"), None)


def _domain_holds(finding: Finding) -> bool:
    return (
        finding.state == "valid"
        and "domain" in finding.roles
        and finding.mapping is not None
        and finding.mapping.passed
        and not finding.violated
    )


def rests_on(findings: Sequence[Finding], level: Level) -> Finding | None:
    """The layer that a level rests on; None for `none`."""
    if level == "none":
        return None
    if level == "originator_direct":
        return originator_layer(findings)
    return domain_layer(findings) or next((f for f in reversed(findings) if _domain_holds(f)), None)


def conclude(
    message: Message,
    findings: tuple[Finding, ...],
    embedded: tuple[Embedded, ...],
    context: Context,
    peer: Peer | None,
) -> Verdict:
    """The verdict on a message; of what is `embedded` in it nothing is concluded (decisions A-10)."""
    layers = [finding.layer for finding in findings]
    inside, or_names = inner_from(layers), inner_or_names(layers)
    flags = [f for finding in findings for f in finding.flags]
    domain = domain_layer(findings)
    if domain is None:
        over_ciphertext = [f for f in findings if _domain_holds(f) and f.coverage == "ciphertext"]
        text = "an encryption lies inside, and in it no signature of somebody From names"
        flags += [flag("coverage.ciphertext_only", text, f.layer.id) for f in over_ciphertext]
        if over_ciphertext and (context.accept_outer_domain or (peer and peer.accept_outer_domain)):
            domain = over_ciphertext[-1]
    originator = originator_layer(findings)
    level = _level(message, domain, originator, context, peer)
    flags += _state_flags(findings, domain)
    flags += _encryption_flags(findings, peer)
    flags += _header_flags(message, inside, or_names, layers)
    labels = labelling.judge(findings, context.labelling)
    flags += labelling.flags(labels, context.labelling, context.now)
    flags += _expected(findings, domain, level, peer)
    if domain is not None and domain.coverage == "unknown":
        shut = next(f.layer.id for f in findings if f.layer.encrypted and f.layer.opened is None)
        flags.append(flag("coverage.unknown", f"layer {shut} is closed", domain.layer.id))
    flags += _sender_flags(message, domain, context, peer)
    flags += _age_flags(rests_on(findings, level), context)
    if embedded:
        flags.append(flag("mime.embedded", f"protected parts inside the content: {'; '.join(map(str, embedded))}"))
    flags = list(dict.fromkeys(flags))
    violated = any(f.severity is Severity.VIOLATION for f in flags)
    return Verdict(
        accepted=level != "none" and not violated,
        level=level,
        domain=authority_domain(domain.certificate, message.originators.mailboxes)
        if domain and level != "none"
        else None,
        originator=_originator(level, originator),
        from_=From(
            message.stated,
            message.originators.valid,
            (*(m.address for inner in inside for m in inner.mailboxes), *(name.text for name in or_names)),
        ),
        headers=_protected(findings, rests_on(findings, level)),
        structure=notation(findings),
        layers=tuple(_layer_verdict(f) for f in findings),
        reviewed_by=_subjects(findings, "review"),
        additional_attributes=_subjects(findings, "attributes"),
        labels=labelling.labels(labels, context.labelling),
        mlh=ess_attributes.history(findings),
        embedded=embedded,
        flags=tuple(flags),
        decrypted=any(f.layer.opened is not None for f in findings),
        ended_at=None,
    )


def _expected(findings: Sequence[Finding], domain: Finding | None, level: Level, peer: Peer | None) -> Iterator[Flag]:
    """What was agreed with the domain, and is not there."""
    if peer is None:
        return
    if peer.expect_signed and peer.domsec and domain is None:
        yield flag("domain.missing", f"no valid domain signature, agreed for {peer.domain}")
    if peer.expect_signed and not peer.domsec and level not in ("originator_direct", "originator_vouched"):
        yield flag("originator.missing", f"no valid signature of its originator, agreed for {peer.domain}")
    if peer.expect_encrypted and not any(finding.layer.encrypted for finding in findings):
        yield flag("enc.missing", f"not encrypted, agreed for {peer.domain}")


def _level(
    message: Message, domain: Finding | None, originator: Finding | None, context: Context, peer: Peer | None
) -> Level:
    if originator is not None and originator.address == "match" and not originator.violated:
        if originator.state == "valid" and originator.coverage == "plaintext":
            return "originator_direct"
        if domain is not None and originator.crypto_valid and _vouched(message, domain, originator, context, peer):
            return "originator_vouched"
    return "domain" if domain is not None else "none"


def _vouched(message: Message, domain: Finding, originator: Finding, context: Context, peer: Peer | None) -> bool:
    """Whether the domain's authority also covers the name in the originator's certificate (decisions A-23)."""
    if domain.certificate is None or originator.certificate is None:
        return False
    subject = originator.certificate.subject
    kinds = {type(name) for name in message.names}
    entities = [names.entity(n, subject) for n in names_in(originator.certificate) if type(n) in kinds]
    return names.check_mapping(domain.certificate, entities, peer, context.is_public_suffix).passed


def _state_flags(findings: Sequence[Finding], domain: Finding | None) -> list[Flag]:
    """A signature that does not hold is a violation; below a domain signature that does, only a warning (3.2)."""
    flags = []
    for i, finding in enumerate(findings):
        if finding.state in (None, "null", "valid"):
            continue
        reasons = "; ".join(dict.fromkeys(s.verdict.reason for s in finding.signers if s.verdict.reason))
        text = f"{finding.state}: {reasons}" if reasons else str(finding.state)
        typed = any(t in DOMSEC for s in finding.signers for t in s.reading.types)
        if domain is not None and domain in findings[:i] and not typed:
            if finding.state in ("invalid", "weak"):
                flags.append(flag("inner.invalid", text, finding.layer.id))
        elif typed or finding.state in ("invalid", "weak"):
            flags.append(flag("signature.invalid", text, finding.layer.id))
    return flags


def _encryption_flags(findings: Sequence[Finding], peer: Peer | None) -> list[Flag]:
    flags = []
    signed = [i for i, f in enumerate(findings) if f.state == "valid"]
    for i, finding in enumerate(findings):
        layer = finding.layer
        if layer.kind not in ENCRYPTED:
            continue
        if not signed:
            severity = Severity.VIOLATION if peer and peer.expect_signed else None
            flags.append(flag("enc.unsigned", "no signature in the message is valid", layer.id, severity))
        if layer.opened is not None and not layer.opened.authenticated and not any(j > i for j in signed):
            flags.append(flag("enc.unauthenticated", f"{layer.opened.cipher} without a signature inside", layer.id))
    return flags


def _header_flags(
    message: Message, inside: Iterable[FromInfo], or_names: Iterable[ORName], layers: Iterable[Layer]
) -> list[Flag]:
    flags = [flag(code, text) for code, text in message.header.problems]
    outer = message.originators
    if not outer.valid:
        flags.append(flag("from.invalid", outer.reason))
    if message.or_names and any(not any(name.same_as(other) for other in message.or_names) for name in or_names):
        stated = "; ".join(names.printable(name.text) for name in or_names)
        flags.append(flag("from.outer_inner_differ", f"inside it is {stated}"))
    for inner in inside:
        if message.or_names and not outer.mailboxes:
            continue  # names of two kinds: each has to be covered, they cannot be compared
        same = len(inner.mailboxes) == len(outer.mailboxes) and all(
            any(m.same_as(o) for o in outer.mailboxes) for m in inner.mailboxes
        )
        if not inner.valid or not same:
            stated = ", ".join(m.address for m in inner.mailboxes) or inner.reason
            flags.append(flag("from.outer_inner_differ", f"inside it is {names.printable(stated)}"))
    for layer in layers:
        if layer.protected is None or not message.header.fields:
            continue
        if differing := [name for name in layer.protected.differences(message.header) if name != "from"]:
            flags.append(flag("header.outer_inner_differ", ", ".join(differing), layer.id))
    return flags


def _sender_flags(message: Message, domain: Finding | None, context: Context, peer: Peer | None) -> Iterator[Flag]:
    """Who else says to have sent it is to be of the authority's domain too, and stands for nobody (decisions A-21)."""
    if domain is None or domain.certificate is None:
        return
    covered = {mailbox.domain for mailbox in message.originators.mailboxes}  # by whatever name the authority has
    for name in ("Sender", "Resent-From", "Resent-Sender"):
        for field in message.header.all(name.lower()):
            stated = parse_originators(Header((field,), b""), name.lower())
            others = [names.entity(mailbox) for mailbox in stated.mailboxes if mailbox.domain not in covered]
            mapping = names.check_mapping(domain.certificate, others, peer, context.is_public_suffix)
            if not stated.valid or (others and not mapping.passed):
                yield flag("sender.mismatch", f"{name} is outside the domain of the authority")


def _age_flags(resting: Finding | None, context: Context) -> Iterator[Flag]:
    """That what the conclusion rests on was signed too long ago, or nobody knows when (decisions A-49)."""
    if resting is None or context.max_age is None:
        return
    for signer in resting.relied_on:
        signed_at = attributes.stated_signing_time(signer.info.signed_attributes)
        if signed_at is None:
            yield flag("replay", "it is not said when it was signed", resting.layer.id)
        elif signed_at < context.now - context.max_age:
            yield flag("replay", f"signed at {signed_at.isoformat()}", resting.layer.id)


def _protected(findings: Sequence[Finding], resting: Finding | None) -> tuple[str, ...] | None:
    """The protected header fields below the layer that the conclusion rests on."""
    for i, finding in enumerate(findings):
        if finding is resting:
            for below in findings[i + 1 :]:
                if below.layer.protected is not None:
                    return tuple(dict.fromkeys(f.name for f in below.layer.protected.header.fields))
    return None


def _originator(level: Level, layer: Finding | None) -> Originator | None:
    if layer is None or layer.certificate is None or level == "none" or not layer.crypto_valid:
        return None
    certificate = layer.certificate
    try:
        name = names.printable((*common_names(certificate), subject_text(certificate))[0])
    except MalformedMessage:
        name = subject_text(certificate)
    stated = (*describe.addresses_of(certificate), *(a.text for a in describe.or_addresses_of(certificate)))
    return Originator(name, stated, "stated_by_domain" if level == "domain" else "certificate")


def authority_domain(certificate: Certificate | None, originators: Sequence[Mailbox] = ()) -> str | None:
    """The domain an authority speaks for, as people write it: of several the one that covers the originator."""
    if certificate is None:
        return None
    known = names.domain_parts(certificate).domains
    for mailbox in originators:
        for domain in known:
            if names.relation(domain, names.labels(mailbox.domain)) != "mismatch":
                return names.written(domain)
    return names.written(known[0]) if known else subject_text(certificate)


def _subjects(findings: Iterable[Finding], role: str) -> tuple[str, ...]:
    return tuple(
        s.verdict.subject
        for f in findings
        if role in f.roles and f.state == "valid"
        for s in f.relied_on
        if s.verdict.subject is not None
    )


def notation(findings: Iterable[Finding]) -> str:
    """The layers in RFC notation, outermost first: E(S[domain](S0(OC)))."""
    return nested(_symbol(finding) for finding in findings)


def _symbol(finding: Finding) -> str:
    if finding.layer.kind != "signed":
        return SYMBOLS[finding.layer.kind]
    stated = [str(t) for t in finding.types] if finding.types else [r for r in finding.roles if r != "none"]
    return signature_symbol((t for t in stated if t != "unspecified"), history=expansion_history(finding))


def _layer_verdict(finding: Finding) -> LayerVerdict:
    layer = finding.layer
    mapping = finding.mapping
    return LayerVerdict(
        id=layer.id,
        kind=layer.kind,
        form=layer.form,
        roles=tuple(r for r in finding.roles if r != "none"),
        state=finding.state,
        coverage=finding.coverage,
        signers=tuple(s.verdict for s in finding.signers),
        naming=finding.naming,
        mapping=None
        if mapping is None
        else {"passed": mapping.passed, "compared": [list(line) for line in mapping.detail]},
        address=finding.address,
        encryption=describe.encryption(layer),
        expansion_history=expansion_history(finding),
        flags=finding.flags,
    )
