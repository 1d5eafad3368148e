"""Domain signatures: when one may be made (RFC 3183 3.2), and where it goes (section 5).

    gate    who sent this, and is every signature in it valid: a Grant, or SigningRefused with the reasons
    plan    which layer to keep from and what goes around it: pure data, printable in RFC notation
    apply   the plan as octets; encryption, being different for each group of recipients, happens between its two halves

Never is anything signed that the gate has not seen: gate, plan and signature work on the same immutable octets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domsec import oids
from domsec.cms import attributes, signed_data
from domsec.cms.algorithms import (
    DIGESTS_BY_NAME,
    SignatureAlgorithm,
    algorithm_identifier,
    default_signature_algorithm,
)
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.cms.recipients import recipient_matches
from domsec.cms.signed_data import Signing
from domsec.errors import MalformedMessage, SigningRefused
from domsec.ess.labels import ESSSecurityLabel
from domsec.limits import DEFAULT, Limits
from domsec.mhs.names import ORAddress, ORName
from domsec.mime import canonical, header_protection, seven_bit, smime
from domsec.mime.addresses import Mailbox, within
from domsec.mime.fields import Header
from domsec.mime.header_protection import Protection
from domsec.octets import Octets, Pieces, in_one_place
from domsec.services import layers, names, signature_type
from domsec.services.catalogue import Severity
from domsec.services.check import Examination
from domsec.services.context import Context
from domsec.services.finding import Finding, all_originators, mailboxes_of, names_in
from domsec.services.layers import Layer
from domsec.services.peer import DigestName, Peer
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import Embedded


@dataclass(frozen=True, slots=True)
class Scheme:
    """How an RSA key signs; others have a way that goes with them."""

    padding: Literal["pkcs1", "pss"] = "pkcs1"
    digest: DigestName = "sha256"

    def algorithm(self, certificate: Certificate) -> SignatureAlgorithm:
        """For the key of a certificate. Raises KeyUnusable."""
        key = certificate.public_key
        oid = DIGESTS_BY_NAME[self.digest].oid if isinstance(key, RSAPublicKey) else None
        return default_signature_algorithm(key, pss=self.padding == "pss", digest=oid)


# --- the gate -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """That somebody is who From says, by other means than S/MIME (RFC 3183 3.2, decisions A-27).

    Set by whoever saw the session; never taken from what the message says of itself.
    """

    kind: str  # "network", "login", "local", ...
    detail: str  # for the audit trail: the client's address, the login
    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()  # these and those below
    x400: frozenset[ORAddress] = frozenset()  # these; one that names no user stands for all of its domain

    def allows(self, mailbox: Mailbox | ORName) -> bool:
        """Whether this speaks for an originator."""
        if isinstance(mailbox, ORName):
            return any(self._covers(address, mailbox.address) for address in self.x400)
        return within(mailbox.domain, self.domains) or any(mailbox.same_as(a) for a in mailboxes_of(self.addresses))

    @staticmethod
    def _covers(given: ORAddress, wanted: ORAddress) -> bool:
        if given.user or given.domain is None or wanted.domain is None:
            return given.same_as(wanted)
        return wanted.domain[: len(given.domain)] == given.domain


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to sign: on what evidence, after which layers were checked. Audited before the signature is made."""

    originators: tuple[str, ...]
    evidence: tuple[str, ...]
    layers: tuple[str, ...]
    structure: str
    at: datetime
    user: str = ""  # SHA-256 of the certificate, where it is the originator's own that signs
    embedded: tuple[str, ...] = ()  # what was found in protected parts inside the content, unless that is ignored


Reason = tuple[str, str]


def gate(
    examination: Examination,
    authority: Certificate,
    evidence: Iterable[Evidence],
    context: Context,
    *,
    trust_domain_signature: frozenset[str] = frozenset(),
    naming: Literal["strict", "mailbox"] = "strict",
    require_embedded: bool = False,
) -> Grant:
    """Decide whether the domain may put its name on a message (spec/algorithms.md (c)).

    `trust_domain_signature` lists domains below whose accepted signature validation may end (decisions A-28). `naming`
    is the convention that our own certificate keeps. Its path is not validated, only its names and its dates.
    `require_embedded` is whether signatures in protected parts inside the content have to be valid too (A-26): those of
    a list that adds its footer, of mail that is forwarded. Raises SigningRefused with every reason.
    """
    message = examination.message
    originators = message.originators
    if not originators.valid:
        raise SigningRefused([("gate.from", originators.reason)])
    reasons: list[Reason] = []
    named = all_originators(message, message.spine())
    entities = [names.entity(name) for name in named]
    reasons += authority_problems(authority, names.SIGNING_AUTHORITY, naming, context.now)
    own = names.check_mapping(authority, entities, None, context.is_public_suffix)
    if not own.passed:
        reasons.append(("gate.not_our_domain", "; ".join(text for _, text in own.findings)))
    layer_ids, used, found = checked(
        examination, named, evidence, trust_domain_signature, require_embedded=require_embedded
    )
    reasons += found
    if reasons:
        raise SigningRefused(tuple(dict.fromkeys(reasons)))
    return Grant(
        tuple(name.text for name in named),
        used,
        layer_ids,
        examination.verdict.structure,
        context.now,
        embedded=seen_embedded(examination, context),
    )


def seen_embedded(examination: Examination, context: Context) -> tuple[str, ...]:
    """What a Grant says of protected parts inside the content; nothing where nobody asked for them."""
    return () if context.embedded == "named" else tuple(map(str, examination.verdict.embedded))


def checked(
    examination: Examination,
    named: Iterable[Mailbox | ORName],
    evidence: Iterable[Evidence],
    trust_domain_signature: frozenset[str] = frozenset(),
    *,
    require_embedded: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...], list[Reason]]:
    """What has to hold whoever signs: all can be read, all signatures hold, every originator is authentic (3.2).

    The layers that were checked, the evidence that was used, and every reason against it.
    """
    reasons = [
        ("gate.from", f.text)
        for f in examination.verdict.flags
        if f.code in ("from.invalid", "from.outer_inner_differ")
    ]
    reasons += unreadable(examination.findings)
    layer_ids, found = _signatures(examination.findings, trust_domain_signature)
    reasons += found
    if require_embedded and not any(_vouches(finding, trust_domain_signature) for finding in examination.findings):
        reasons += _embedded(examination.verdict.embedded)
    used, found = _originators(examination, named, tuple(evidence))
    return layer_ids, used, [*reasons, *found]


def authority_problems(
    certificate: Certificate, role_name: str, naming: Literal["strict", "mailbox"], now: datetime
) -> list[Reason]:
    """What is wrong with a certificate of our own: then nobody would believe the signature (RFC 3183 3.2 to 3.4)."""
    found = names.check_naming(certificate, role_name, Peer("", naming=naming))
    reasons = [("gate.authority", text) for code, text in found if code != "naming.convention"]
    if not certificate.valid_at(now):
        reasons.append(("gate.authority", "our own certificate is not valid at this time"))
    return reasons


def unreadable(findings: Iterable[Finding]) -> list[Reason]:
    """The layers that nobody here has seen the inside of, so that nobody can vouch for it."""
    reasons = []
    for finding in findings:
        layer = finding.layer
        if layer.encrypted and layer.opened is None:
            reasons.append(("gate.undecryptable", f"layer {layer.id} is closed to us"))
        elif layer.kind == "unsupported":
            text = "; ".join(f"{code} {text}".strip() for code, text in layer.flags) or "not handled"
            reasons.append(("gate.malformed", f"layer {layer.id}: {text}"))
        elif layer.kind not in ("signed", "null"):  # what others may read in another way (threats T-24)
            reasons += [
                ("gate.malformed", f"layer {layer.id}: {f.code} {f.text}")
                for f in finding.flags
                if f.severity is Severity.VIOLATION and f.code.partition(".")[0] in ("mime", "cms", "x400", "limit")
            ]
    return reasons


def _signatures(findings: Iterable[Finding], trusted: frozenset[str]) -> tuple[tuple[str, ...], list[Reason]]:
    """All signatures present are valid, including those that were encrypted (RFC 3183 3.2)."""
    checked: list[str] = []
    reasons: list[Reason] = []
    vouched = False
    for finding in findings:
        if vouched and not has_history(finding.layer):  # section 5 goes by histories, so these hold in any case
            continue
        layer_id = finding.layer.id
        violations = [f for f in finding.flags if f.severity is Severity.VIOLATION]
        if finding.layer.kind == "null":
            reasons += [
                ("gate.malformed", f"layer {layer_id}: {f.text}") for f in violations if f.code != "null.uncovered"
            ]
        if finding.layer.kind != "signed":
            continue
        checked.append(layer_id)
        if finding.state != "valid":
            why = "; ".join(s.verdict.reason for s in finding.signers if s.verdict.reason)
            reasons.append(("gate.invalid_signature", f"layer {layer_id} is {finding.state}: {why}"))
        for found in violations:
            family = found.code.partition(".")[0]
            code = f"gate.{family}" if family in ("naming", "mapping") else "gate.malformed"
            reasons.append((code, f"layer {layer_id}: {found.text}"))
        if finding.mapping is not None and not finding.mapping.passed:  # also where its flag is no violation
            reasons += [("gate.mapping", f"layer {layer_id}: {text}") for _, text in finding.mapping.findings]
        vouched = vouched or (_vouches(finding, trusted) and not reasons)
    return tuple(checked), reasons


def _embedded(parts: Iterable[Embedded], within: str = "") -> list[Reason]:
    """What does not hold of the protected parts inside the content: all that `_signatures` and `unreadable` ask of the
    message, of as much as a verdict tells."""
    reasons: list[Reason] = []
    for part in parts:
        path = f"{within}{part.part}"
        if part.verdict is None:
            reasons.append(("gate.embedded", f"part {path} was not judged"))
            continue
        for layer in part.verdict.layers:
            where = f"part {path}, layer {layer.id}"
            if layer.encryption is not None and not layer.encryption.opened:
                reasons.append(("gate.embedded", f"{where} is closed to us"))
            elif layer.kind == "unsupported":
                reasons.append(("gate.embedded", f"{where} cannot be read"))
            elif layer.kind == "signed" and layer.state != "valid":
                why = "; ".join(signer.reason for signer in layer.signers if signer.reason)
                reasons.append(("gate.embedded", f"{where} is {layer.state}: {why}"))
            reasons += [
                ("gate.embedded", f"{where}: {found.text}")
                for found in layer.flags
                if found.severity is Severity.VIOLATION and not layer.encryption and found.code != "null.uncovered"
            ]
        reasons += _embedded(part.verdict.embedded, f"{path}: ")
    return reasons


def _vouches(finding: Finding, trusted: frozenset[str]) -> bool:
    if not trusted or "domain" not in finding.roles or finding.mapping is None or not finding.mapping.passed:
        return False
    parts = names.domain_parts(finding.certificate) if finding.certificate else names.DomainParts()
    return any(names.written(domain) in trusted for domain in parts.rfc822)


def _originators(
    examination: Examination, named: Iterable[Mailbox | ORName], evidence: tuple[Evidence, ...]
) -> tuple[tuple[str, ...], list[Reason]]:
    """Every originator is authentic, by the innermost originator signature or by evidence from the session."""
    signed = next((f for f in reversed(examination.findings) if "originator" in f.roles), None)
    addresses = [name for s in signed.relied_on for name in names_in(s.certificate)] if signed else []
    used: list[str] = []
    reasons: list[Reason] = []
    for name in named:
        if signed is not None and signed.state == "valid" and any(names.same_originator(name, a) for a in addresses):
            used.append(f"signature of layer {signed.layer.id}")
            continue
        spoken = next((e for e in evidence if e.allows(name)), None)
        if spoken is None:
            others = ", ".join(f"{e.kind} {names.printable(e.detail)}" for e in evidence)
            speaks = f"; {others} may not say so" if others else ""
            reasons.append(("gate.originator", f"nothing shows that {names.printable(name.text)} sent this{speaks}"))
        else:
            used.append(f"{spoken.kind} {spoken.detail}")
    if signed is not None and not any(names.same_originator(n, a) for n in named for a in addresses):
        reasons.append(("gate.originator_conflict", "the originator's signature is by somebody else than From"))
    return tuple(used), reasons


# --- section 5 ------------------------------------------------------------------------------------------------------

Branch = Literal["list", "encrypted", "neither"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What section 5 makes of a message: from which layer to keep, and what to put around it."""

    branch: Branch
    body: Layer  # kept as received
    stripped: tuple[Layer, ...]
    lower: bool  # an encryption lies lower in the body: encryption of the result is not a matter of policy
    encrypt: bool
    outer: tuple[Attribute, ...] | None  # signed attributes for a layer around it all (step 4)
    carried: tuple[Attribute, ...] = ()  # each in an additional attributes signature of ours, innermost first
    in_clear: bool = False  # agreed: no empty signature, readable everywhere, not what RFC 3183 3.1.2 says

    @property
    def null(self) -> bool:
        """Whether the empty signature comes first, since the body is unsigned."""
        return self.body.kind not in ("signed", "null") and not self.in_clear

    @property
    def notation(self) -> str:
        """The result in RFC notation; the body's own layers as letters."""
        text = ("S0(" if self.null else "") + _letters(self.body) + (")" if self.null else "")
        for _ in self.carried:
            text = f"S[attributes]({text})"
        text = f"S[domain]({text})"
        if self.encrypt:
            text = f"E({text})"
        return f"S[unspecified]+mlh({text})" if self.outer is not None else text


def _letters(layer: Layer) -> str:
    return layers.nested(layers.SYMBOLS.get(part.kind, "S") for part in layers.spine(layer))


def has_history(layer: Layer) -> bool:
    """Whether a layer carries mlExpansionHistory in a SignerInfo. `gate` has verified it by then."""
    return layers.carries(layer, oids.ID_AA_ML_EXPAND_HISTORY)


def search_outer(spine: Sequence[Layer]) -> tuple[Branch, int]:
    """The outer SignedData of section 5: searched from outside, never inside encryption."""
    for i, layer in enumerate(spine):
        if layer.encrypted:
            return "encrypted", i
        if layer.kind == "signed" and has_history(layer):
            return "list", i
        if layer.kind not in ("signed", "null"):
            break
    return "neither", 0


def plan(
    spine: Sequence[Layer],
    *,
    encrypt: bool,
    copy_unknown: bool = True,
    translating: frozenset[str] = frozenset(),
    carry_labels: bool = False,
) -> Plan:
    """Section 5 for a message whose layers are these; `encrypt` is whether policy wants S/MIME encryption outside.

    Attributes are copied from what the spine has for signers: of a stranger's message give it `finding.believed`.

    Where section 5 has no encryption step, wanted encryption is that of section 4: right around the domain signature.
    `copy_unknown` is whether attributes nobody here knows go from a list layer to its successor; `translating` are the
    ids of the layers whose equivalent labels do so, their signers being trusted to translate (decisions A-32).
    `carry_labels` has labels that would go with a layer stated again by our own attribute-authority (A-33).
    Raises SigningRefused where an encryption that has to come off is closed, what lies inside has no form in MIME, or a
    label that has to be carried on cannot be read.
    """
    made = _plan(spine, encrypt, translating)
    if made.outer is not None and not copy_unknown:
        made = replace(made, outer=tuple(a for a in made.outer if a.oid in _KEPT))
    if not layers.in_mime(made.body):
        raise SigningRefused([("gate.malformed", f"layer {made.body.id} has no form in MIME")])
    return replace(made, carried=_carried(made)) if carry_labels else made


def _plan(spine: Sequence[Layer], encrypt: bool, translating: frozenset[str]) -> Plan:
    branch, at = search_outer(spine)
    if branch == "neither":
        body = spine[0]
        return Plan(branch, body, (), lower := _lower(body), encrypt or lower, None)
    if branch == "encrypted":
        body = _inside(spine[at])
        lower = _lower(body)
        if not encrypt and not lower and search_outer(tuple(layers.spine(body)))[0] == "list":
            # decisions A-61: as printed, the next list agent would strip the domain signature
            again = _plan(tuple(layers.spine(body)), encrypt=False, translating=translating)
            return Plan(
                again.branch, again.body, (*spine[: at + 1], *again.stripped), again.lower, again.encrypt, again.outer
            )
        return Plan(branch, body, tuple(spine[: at + 1]), lower, encrypt or lower, None)
    outer = readded(spine[at], equivalents=spine[at].id in translating)
    inside = spine[at + 1 :]
    closed, found = search_outer_encryption(inside)
    if closed:
        body = _inside(inside[found])
        lower = _lower(body)
        return Plan(branch, body, tuple(spine[: at + found + 2]), lower, encrypt or lower, outer)
    body = inside[0]
    return Plan(branch, body, tuple(spine[: at + 1]), lower := _lower(body), encrypt or lower, outer)


def search_outer_encryption(spine: Sequence[Layer]) -> tuple[bool, int]:
    """The first encryption below a list layer, with nothing but signed and empty layers before it."""
    for i, layer in enumerate(spine):
        if layer.encrypted:
            return True, i
        if layer.kind not in ("signed", "null"):
            break
    return False, 0


def closed_to_others(body: Layer | None, own: Iterable[Credential]) -> Layer | None:
    """The first encryption in a body that is for these alone: nobody else who gets it could read it (A-37)."""
    ours = [credential.certificate for credential in own]
    for layer in layers.spine(body):
        if layer.enveloped is not None and all(
            any(recipient_matches(r, c) for c in ours) for r in layer.enveloped.recipients
        ):
            return layer
    return None


def _inside(layer: Layer) -> Layer:
    if layer.child is None:
        raise SigningRefused([("gate.undecryptable", f"layer {layer.id} is closed to us")])
    return layer.child


def _lower(body: Layer) -> bool:
    return any(layer.encrypted for layer in layers.spine(body))


# what a re-signed list layer keeps of the attributes it had (decisions A-32)
_RECOMPUTED: Final = frozenset(
    {
        oids.ID_CONTENT_TYPE,
        oids.ID_MESSAGE_DIGEST,
        oids.ID_SIGNING_TIME,
        oids.ID_AA_CMS_ALGORITHM_PROTECT,
        oids.ID_AA_SIGNING_CERTIFICATE,
        oids.ID_AA_SIGNING_CERTIFICATE_V2,
    }
)
_DROPPED: Final = frozenset(
    {
        *signature_type.ATTRIBUTE_OIDS,
        oids.SMIME_CAPABILITIES,
        oids.ID_AA_ENCRYP_KEY_PREF,
        oids.ID_AA_RECEIPT_REQUEST,
        oids.ID_AA_MSG_SIG_DIGEST,
        oids.ID_COUNTERSIGNATURE,
        oids.ID_AA_MULTIPLE_SIGNATURES,
    }
)


_KEPT: Final = frozenset(
    {
        oids.ID_AA_ML_EXPAND_HISTORY,
        oids.ID_AA_SECURITY_LABEL,
        oids.ID_AA_EQUIVALENT_LABELS,
        oids.ID_AA_CONTENT_HINT,
        oids.ID_AA_CONTENT_IDENTIFIER,
        oids.ID_AA_CONTENT_REFERENCE,
    }
)


def lost_labels(plan: Plan) -> tuple[Attribute, ...]:
    """The labels on layers that are taken off, innermost first: those that no list layer takes on (decisions A-33).

    Of a stranger's message give `plan` the spine of `finding.believed`.
    """
    label = oids.ID_AA_SECURITY_LABEL
    going_on = [attribute.values for attribute in plan.outer or () if attribute.oid == label]
    stated = [
        attribute.values
        for layer in reversed(plan.stripped)
        for signer in (layer.signed.signers if layer.signed is not None else ())
        for attribute in (signer.signed_attributes.get(label) if signer.signed_attributes is not None else ())
    ]
    return tuple(attributes.attribute(label, *values) for values in dict.fromkeys(stated) if values not in going_on)


def _carried(plan: Plan) -> tuple[Attribute, ...]:
    """The lost labels as an attribute-authority can state them: one in each signature, in DER."""
    return tuple(_stated_again(lost) for lost in lost_labels(plan))


def _stated_again(lost: Attribute) -> Attribute:
    try:
        (value,) = lost.values
        ESSSecurityLabel.read(value)
        return attributes.attribute(lost.oid, attributes.distinguished(value))
    except (ValueError, MalformedMessage) as error:
        text = f"a label that would be taken off cannot be carried on: {error}"
        raise SigningRefused([("stripped_label", text)]) from None


@dataclass(frozen=True, slots=True)
class StrippedLayer:
    """A signature that section 5 takes off: who made it as what, and what it stated."""

    layer: str
    roles: tuple[str, ...]
    signers: tuple[str, ...]
    certificates: tuple[str, ...]  # SHA-256 in hexadecimal
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stripped:
    """The signatures that section 5 takes off a message, for the audit trail (decisions A-33)."""

    layers: tuple[StrippedLayer, ...]
    at: datetime


def stripped(plan: Plan, findings: Iterable[Finding], now: datetime) -> Stripped:
    """What goes with the layers that a plan takes off."""
    off = {layer.id for layer in plan.stripped}
    gone = [finding for finding in findings if finding.layer.id in off and finding.layer.kind == "signed"]
    return Stripped(tuple(_stripped_layer(finding) for finding in gone), now)


def _stripped_layer(finding: Finding) -> StrippedLayer:
    verdicts = [signer.verdict for signer in finding.signers]
    return StrippedLayer(
        finding.layer.id,
        finding.roles,
        tuple(v.subject or "" for v in verdicts),
        tuple(v.sha256 or "" for v in verdicts),
        tuple(dict.fromkeys(name for v in verdicts for name in v.attributes.values())),
    )


def readded(layer: Layer, *, equivalents: bool = True) -> tuple[Attribute, ...]:
    """The signed attributes of a layer that its successor takes over: step 4 of section 5, RFC 2634 4.2 (A-32).

    `equivalents` is whether equivalent labels are among them.

    Those of the first signer that states an expansion history, else of the first. Signers without a history are passed
    over (RFC 2634 4.1); of two that differ raises SigningRefused.
    """
    assert layer.signed is not None
    stated = [s.signed_attributes for s in layer.signed.signers if s.signed_attributes is not None]
    with_history = [each for each in stated if each.get(oids.ID_AA_ML_EXPAND_HISTORY)]
    histories = {tuple(a.raw for a in each.get(oids.ID_AA_ML_EXPAND_HISTORY)) for each in with_history}
    if len(histories) > 1:
        raise SigningRefused([("gate.malformed", f"layer {layer.id}: the signers state different expansion histories")])
    chosen = (*with_history, *stated)[:1]
    left = _RECOMPUTED | _DROPPED | (frozenset() if equivalents else {oids.ID_AA_EQUIVALENT_LABELS})
    return tuple(a for each in chosen for a in each.items if a.oid not in left)


# --- octets ---------------------------------------------------------------------------------------------------------

Encrypt = Callable[[Octets | Pieces], Octets | Pieces]  # an entity for some recipients

# what our authority can decrypt, best first
_CAPABILITIES: Final = attributes.smime_capabilities(
    [algorithm_identifier(oid) for oid in (oids.AES256_GCM, oids.AES128_GCM, oids.AES256_CBC, oids.AES128_CBC)]
)


@dataclass(frozen=True, slots=True)
class Signer:
    """A credential of ours ready to sign: what does not change from message to message is prepared once."""

    credential: Credential
    algorithm: SignatureAlgorithm | None = None  # None: what fits the key
    confidentiality: Certificate | None = None  # announced as the key to encrypt to (decisions A-54)
    sigtype_oid: str = oids.ID_AA_SIGNATURE_TYPE
    beside: tuple[Credential, ...] = ()  # these sign the same with the same attributes (RFC 3183 3.1.2)

    def signings(self, signed_as: SignatureType | None, extra: Sequence[Attribute] = ()) -> tuple[Signing, ...]:
        """The preparations for one kind of signature, one for each credential."""
        return tuple(signer.signing(signed_as, extra) for signer in (self, *self._others()))

    def _others(self) -> tuple[Signer, ...]:
        return tuple(
            replace(self, credential=other, algorithm=self._algorithm_for(other.certificate), beside=())
            for other in self.beside
        )

    def _algorithm_for(self, certificate: Certificate) -> SignatureAlgorithm | None:
        """The algorithm asked for where it goes with that key as well, say RSASSA-PSS with a second RSA key."""
        wanted = self.algorithm
        return wanted if wanted and wanted.curve is None and certificate.key_algorithm in wanted.keys else None

    def signing(self, signed_as: SignatureType | None, extra: Sequence[Attribute] = ()) -> Signing:
        """The preparation for one kind of signature, by the first credential alone."""
        if extra:
            return self._prepare(signed_as, tuple(extra))
        return _prepared(self, signed_as)

    def _prepare(self, signed_as: SignatureType | None, extra: tuple[Attribute, ...]) -> Signing:
        own = list(extra)
        if signed_as is not None:
            own.append(signature_type.attribute(signed_as, oid=self.sigtype_oid))
        if signed_as is SignatureType.DOMAIN and self.confidentiality is not None:
            own.append(_CAPABILITIES)
            own.append(attributes.encryption_key_preference(self.confidentiality))
        return Signing(self.credential, self.algorithm, tuple(own))


@functools.lru_cache(maxsize=64)
def _prepared(signer: Signer, signed_as: SignatureType | None) -> Signing:
    return signer._prepare(signed_as, ())


def apply(
    plan: Plan,
    header: Header,
    signer: Signer,
    now: datetime,
    *,
    encrypt: Encrypt | None = None,
    protect_headers: bool = True,
    attribute_authority: Signer | None = None,
) -> Octets:
    """The entity a plan makes: `encrypt` turns the domain signed entity into the encrypted one for some recipients.

    Nothing is hidden outside: who wants that takes the steps one by one. Raises ValueError where the plan wants
    encryption and no `encrypt` is given, or the reverse; StoreUnavailable where there is no room for a large one.
    """
    if plan.encrypt != (encrypt is not None):
        raise ValueError("whether to encrypt has to be what the plan says")
    body, _ = kept(plan, header, Protection("fields" if protect_headers else "none"))
    entity = domain_signed(plan, body, signer, now, attribute_authority=attribute_authority)
    return in_one_place(finish(plan, entity, signer, now, encrypt))


def kept(plan: Plan, header: Header, protection: Protection) -> tuple[Octets | Pieces, Header]:
    """The kept body, header fields in it where its innermost layer is ours to make, and the header left outside."""
    entity = layers.mime_entity(plan.body)
    if plan.body.kind != "content" or plan.body.protected is not None:
        return entity, header
    hide = protection.hide and plan.encrypt
    return header_protection.put_inside(header, entity, replace(protection, hide=hide))


def domain_signed(
    plan: Plan,
    entity: Octets | Pieces,
    signer: Signer,
    now: datetime,
    *,
    attribute_authority: Signer | None = None,
    limits: Limits = DEFAULT,
) -> Octets | Pieces:
    """The kept body with the domain signature around it, before encryption: the same for all recipients.

    `attribute_authority` signs what the plan carries; raises ValueError where that is needed and not given.
    """
    if plan.in_clear:
        return clear(entity, signer.signings(SignatureType.DOMAIN), now, limits)
    if plan.null:
        entity = layers.null_layer(canonical.canonical(entity))
    for attribute in plan.carried:
        if attribute_authority is None:
            raise ValueError("who states the labels that are carried on")
        entity = opaque(entity, attribute_authority.signings(SignatureType.ATTRIBUTES, (attribute,)), now)
    announced = (signer.confidentiality,) if signer.confidentiality is not None else ()
    return opaque(entity, signer.signings(SignatureType.DOMAIN), now, announced)


def finish(
    plan: Plan, entity: Octets | Pieces, signer: Signer, now: datetime, encrypt: Encrypt | None = None
) -> Octets | Pieces:
    """Encryption for one group of recipients, and the list's attributes around it."""
    if encrypt is not None:
        entity = encrypt(entity)
    if plan.outer is not None:
        entity = opaque(entity, signer.signings(None, plan.outer), now)
    return entity


def opaque(
    entity: Octets | Pieces,
    signing: Signing | Sequence[Signing],
    now: datetime,
    certificates: Iterable[Certificate] = (),
) -> Octets | Pieces:
    """An entity inside application/pkcs7-mime signed-data; `certificates` go with those of the signers."""
    der = signed_data.sign(entity, oids.ID_DATA, _several(signing), certificates=certificates, signing_time=now)
    return smime.pkcs7_mime(der, "signed-data")


def _several(signing: Signing | Sequence[Signing]) -> Sequence[Signing]:
    return (signing,) if isinstance(signing, Signing) else signing


def clear(
    entity: Octets | Pieces, signing: Signing | Sequence[Signing], now: datetime, limits: Limits = DEFAULT
) -> Octets | Pieces:
    """An entity inside multipart/signed, made 7 bit first: what hops on the way change breaks the signature."""
    part = canonical.canonical(seven_bit.make_seven_bit(entity, limits))
    signers = _several(signing)
    der = signed_data.sign(part, oids.ID_DATA, signers, detached=True, signing_time=now)
    return smime.clear_signed(part, in_one_place(der), ",".join(dict.fromkeys(_micalg(each) for each in signers)))


def _micalg(signing: Signing) -> str:
    algorithm = signing.algorithm or default_signature_algorithm(signing.credential.certificate.public_key)
    return algorithm.digest.micalg
