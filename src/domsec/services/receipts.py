"""Signed receipts (RFC 2634 2): asked for by a sender, made by a receiver, checked by the sender.

    request    the attribute with which a sender asks; `sent` is what the sender keeps
    asked      whether a receiver is asked for a receipt, and where it goes
    make       the receipt; `seal` encrypts it
    check      whether a receipt is for what was sent, and who signed it

A receipt says that somebody could verify a message. So it is made by the receiver alone, after all of the message was
judged, and never by a gateway (decisions A-53).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from domsec import oids
from domsec.cms import attributes, signed_data
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential
from domsec.cms.signed_data import ContentDigests, SignerInfo, Signing
from domsec.errors import MalformedMessage, ReceiptRefused
from domsec.ess.lists import MLReceiptPolicy
from domsec.ess.names import GeneralName, GeneralNames, directory_name, mail_address
from domsec.ess.receipts import ContentHints, MsgSigDigest, Receipt, ReceiptRequest
from domsec.mime import smime
from domsec.mime.addresses import Mailbox, parse_address
from domsec.octets import in_one_place
from domsec.services import encrypt, ess_attributes, sign
from domsec.services.check import Examination
from domsec.services.encrypt import Cipher
from domsec.services.finding import Finding, Signer, expansion_history
from domsec.services.layers import Layer, Message
from domsec.trust import names
from domsec.trust.addresses import addresses

_RANDOM: Final = 16  # octets of a content identifier that nobody can guess

# --- the sender asks ------------------------------------------------------------------------------------------------


def content_identifier(certificate: Certificate, now: datetime) -> bytes:
    """What no other content in the world is called (2.7): the signer's certificate, the time, and a random number."""
    when = now.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode()
    return bytes.fromhex(certificate.sha256)[:20] + when + os.urandom(_RANDOM)


def request(
    identifier: bytes,
    receipts_from: Literal["all", "first-tier"] | Sequence[Mailbox],
    receipts_to: Sequence[Mailbox],
) -> Attribute:
    """The signed attribute that asks for receipts (2.2): from whom, and to whom they go, the sender too only if named.

    It belongs in the innermost signature, and nowhere else. Raises MalformedMessage without anybody in `receipts_to`,
    LimitExceeded for more than 16.
    """
    tiers = {"all": "allReceipts", "first-tier": "firstTierRecipients"}
    if isinstance(receipts_from, str):
        asked = ReceiptRequest(identifier, tiers[receipts_from], _each(receipts_to))  # type: ignore[arg-type]
    else:
        asked = ReceiptRequest(identifier, _each(receipts_from), _each(receipts_to))
    return attributes.attribute(oids.ID_AA_RECEIPT_REQUEST, asked.write())


def _each(mailboxes: Iterable[Mailbox]) -> tuple[GeneralNames, ...]:
    return tuple((mail_address(mailbox.address),) for mailbox in mailboxes)


@dataclass(frozen=True, slots=True)
class Sent:
    """One signature that asked for receipts, as its sender keeps it (2.2.2)."""

    receipt: Receipt  # what a receipt for it has to say
    request: ReceiptRequest
    digests: frozenset[bytes]  # of the signed attributes; two if they are not in DER


def sent(message: Message) -> tuple[Sent, ...]:
    """What is to be kept of a message of ours. It is our own: its signatures are not verified.

    Raises ReceiptRefused where it asks for no receipt, or its innermost signature cannot be seen.
    """
    spine = message.spine()
    if any(layer.encrypted and layer.opened is None for layer in spine):
        raise ReceiptRefused("receipt.closed", "the message is encrypted, expected it as it was signed")
    innermost = next((layer for layer in reversed(spine) if layer.kind == "signed"), None)
    infos = innermost.signed.signers if innermost is not None and innermost.signed is not None else ()
    found = [_sent(info, innermost, stated) for info in infos if (stated := _request_of(info)) is not None]
    if not found:
        raise ReceiptRefused("receipt.not_requested", "the message asks for no receipt")
    return tuple(found)


def _sent(info: SignerInfo, layer: Layer | None, stated: ReceiptRequest) -> Sent:
    assert layer is not None
    digests = {signed_data.signature_digest(info, order) for order in ("der", "received")}
    return Sent(_receipt_for(info, layer, stated), stated, frozenset(digests))


def _request_of(info: SignerInfo) -> ReceiptRequest | None:
    """The request of one SignerInfo; None if there is none, or none that can be used (1.3.4)."""
    value = ess_attributes.single(info.signed_attributes, oids.ID_AA_RECEIPT_REQUEST)
    try:
        return None if value is None else ReceiptRequest.read(value)
    except MalformedMessage:
        return None


def _receipt_for(info: SignerInfo, layer: Layer, stated: ReceiptRequest) -> Receipt:
    return Receipt(layer.content_type, stated.signed_content_identifier, info.signature)


# --- the receiver is asked ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A receipt that is due."""

    layer: Layer
    signer: Signer
    request: ReceiptRequest
    send_to: tuple[GeneralNames, ...]  # each entity by its names (2.5)

    @property
    def mailboxes(self) -> tuple[Mailbox, ...]:
        """Where to send it: of each entity the first mail address, none for those who have none."""
        return tuple(dict.fromkeys(m for entity in self.send_to if (m := _mailbox_of(entity)) is not None))


def names_of(certificate: Certificate) -> GeneralNames:
    """What somebody may be called in a list of those who are asked: addresses, and the directory name."""
    return (*(mail_address(a) for a in addresses(certificate)), directory_name(certificate.subject))


def asked(examination: Examination, receiver: Iterable[GeneralName]) -> Asked:
    """The receipt that is due from somebody of these names, by the process of 2.3.

    Raises ReceiptRefused where none may be made: not asked for, asked of others, withdrawn by a mail list, or asked by
    nobody whose signature holds.
    """
    findings = examination.findings
    innermost = _innermost(findings)
    if innermost.layer.content_type == oids.ID_CT_RECEIPT:
        raise ReceiptRefused("receipt.of_receipt", "a receipt gets no receipt")
    signer, stated = _verified_request(innermost)
    history = _policy(findings)
    if history is not None and history.policy is not None and history.policy.choice == "none":
        raise ReceiptRefused("receipt.policy_none", "a mail list wants no receipts")
    if stated.receipts_from == "firstTierRecipients" and history is not None:
        raise ReceiptRefused("receipt.not_first_tier", "receipts are asked of those who get no copy of a mail list")
    own = tuple(receiver)
    if isinstance(stated.receipts_from, tuple) and not _is_one_of(own, stated.receipts_from):
        raise ReceiptRefused("receipt.not_in_list", "receipts are asked of others")
    return Asked(innermost.layer, signer, stated, _send_to(stated, history.policy if history is not None else None))


def _innermost(findings: Sequence[Finding]) -> Finding:
    if any(f.layer.encrypted and f.layer.opened is None for f in findings):
        raise ReceiptRefused("receipt.closed", "the message is encrypted to somebody else")
    innermost = next((f for f in reversed(findings) if f.layer.kind == "signed"), None)
    if innermost is None:
        raise ReceiptRefused("receipt.not_requested", "the message is not signed")
    return innermost


def _verified_request(finding: Finding) -> tuple[Signer, ReceiptRequest]:
    """The request of the first signer whose signature holds; all of them have to say the same (2.3)."""
    asking = [(s, s.info.signed_attributes) for s in finding.signers if _states_request(s)]
    if not asking:
        raise ReceiptRefused("receipt.not_requested", "the message asks for no receipt")
    verified = [(s, _request_of(s.info)) for s, _ in asking if s.verdict.state == "valid"]
    if not verified:
        reasons = "; ".join(dict.fromkeys(f"{s.verdict.state} {s.verdict.reason}".strip() for s, _ in asking))
        raise ReceiptRefused("receipt.unverified", f"the signature that asks for a receipt does not hold: {reasons}")
    signer, stated = verified[0]
    if any(other != stated for _, other in verified):
        raise ReceiptRefused("receipt.differ", "the signers ask for different receipts")
    if stated is None:
        raise ReceiptRefused("receipt.not_requested", "the request for a receipt cannot be used")
    return signer, stated


def _states_request(signer: Signer) -> bool:
    stated = signer.info.signed_attributes
    return stated is not None and bool(stated.get(oids.ID_AA_RECEIPT_REQUEST))


@dataclass(frozen=True, slots=True)
class _History:
    """That a mail list expanded the message, and what the last one wants."""

    policy: MLReceiptPolicy | None


def _policy(findings: Iterable[Finding]) -> _History | None:
    """What the outermost history says. One that cannot be used is no leave to make receipts (4.1)."""
    for finding in findings:
        if not expansion_history(finding):
            continue
        entries = ess_attributes.expansions(finding)
        if not entries:
            raise ReceiptRefused("receipt.history", f"the expansion history of layer {finding.layer.id} does not hold")
        return _History(entries[-1].receipt_policy)
    return None


def _send_to(stated: ReceiptRequest, policy: MLReceiptPolicy | None) -> tuple[GeneralNames, ...]:
    """2.5: those the sender named, unless the last list replaces them or adds to them."""
    if policy is None:
        return stated.receipts_to
    if policy.choice == "insteadOf":
        return policy.names
    return tuple(dict.fromkeys((*stated.receipts_to, *policy.names)))


def _is_one_of(own: Sequence[GeneralName], listed: Iterable[GeneralNames]) -> bool:
    return any(_same(one, other) for entity in listed for one in entity for other in own)


def _same(one: GeneralName, other: GeneralName) -> bool:
    if one.directory_name is not None and other.directory_name is not None:
        try:
            return names.same_name(one.directory_name, other.directory_name)
        except MalformedMessage:
            return False
    mine, theirs = _mailbox(one), _mailbox(other)
    return mine is not None and theirs is not None and mine.same_as(theirs)


def _mailbox(name: GeneralName) -> Mailbox | None:
    try:
        return None if name.address is None else parse_address(name.address)
    except MalformedMessage:
        return None


def _mailbox_of(entity: GeneralNames) -> Mailbox | None:
    return next((m for name in entity if (m := _mailbox(name)) is not None), None)


# --- the receiver answers -------------------------------------------------------------------------------------------


def make(due: Asked, credential: Credential, now: datetime) -> bytes:
    """The entity of a signed receipt (2.4). The signature that asked for it is verified once more.

    Raises SignatureInvalid, KeyUnusable, StoreUnavailable.
    """
    info, certificate, content = due.signer.info, due.signer.certificate, due.layer.content
    assert certificate is not None
    assert content is not None
    found = signed_data.verify(info, ContentDigests(content), due.layer.content_type, certificate)
    digest = MsgSigDigest(signed_data.signature_digest(info, found.order)).write()
    receipt = _receipt_for(info, due.layer, due.request).write()
    signing = Signing(credential, attributes=(attributes.attribute(oids.ID_AA_MSG_SIG_DIGEST, digest),))
    made = signed_data.sign(receipt, oids.ID_CT_RECEIPT, (signing,), signing_time=now)
    return bytes(smime.pkcs7_mime(made, "signed-receipt"))


def seal(
    receipt: bytes, credential: Credential, certificates: Sequence[Certificate], cipher: Cipher | None, now: datetime
) -> bytes:
    """A receipt encrypted, inside an outer signature that says what is in there (2.4 step 11)."""
    hints = attributes.attribute(oids.ID_AA_CONTENT_HINT, ContentHints(oids.ID_CT_RECEIPT).write())
    signing = sign.Signer(credential).signing(None, (hints,))
    return bytes(sign.opaque(encrypt.encrypt(receipt, certificates, cipher), signing, now))


# --- the sender checks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """Who says in a receipt that he could verify what was sent."""

    subject: str
    addresses: tuple[str, ...]
    signing_time: str | None  # a claim of the signer
    content_identifier: bytes
    listed: bool  # whether the sender asked this one; True where all are asked


def check(examination: Examination, kept: Sequence[Sent]) -> Checked:
    """Judge a receipt by what its sender kept (2.6). Layers of lists and gateways may lie around it.

    Raises ReceiptRefused where it is no receipt, not for what was sent, or its signature does not hold.
    """
    layer, receipt = _receipt_in(examination.findings)
    if all(known.receipt.signed_content_identifier != receipt.signed_content_identifier for known in kept):
        raise ReceiptRefused("receipt.other_message", "the receipt is for another message")
    fitting = [known for known in kept if known.receipt.write() == in_one_place(layer.layer.content or b"")]
    if not fitting:
        raise ReceiptRefused("receipt.content", "the receipt is for another signature than the one sent")
    valid = [signer for signer in layer.signers if signer.verdict.state == "valid"]
    if not valid:
        reasons = "; ".join(dict.fromkeys(f"{s.verdict.state} {s.verdict.reason}".strip() for s in layer.signers))
        raise ReceiptRefused("receipt.signature", f"the signature of the receipt does not hold: {reasons}")
    for signer in valid:
        stated = _received(signer.info)
        known = next((known for known in fitting if stated in known.digests), None)
        if known is not None:
            return _checked(signer, known)
    raise ReceiptRefused("receipt.digest", "what was received is not what was sent")


def _received(info: SignerInfo) -> bytes | None:
    """The digest of what was received, as the receiver states it; None where he does not, or not once."""
    value = ess_attributes.single(info.signed_attributes, oids.ID_AA_MSG_SIG_DIGEST)
    try:
        return None if value is None else MsgSigDigest.read(value).digest
    except MalformedMessage:
        return None


def _receipt_in(findings: Iterable[Finding]) -> tuple[Finding, Receipt]:
    for finding in findings:
        if finding.layer.kind == "signed" and finding.layer.content_type == oids.ID_CT_RECEIPT:
            return finding, Receipt.read(in_one_place(finding.layer.content or b""))
    raise ReceiptRefused("receipt.none", "there is no signed receipt in the message")


def _checked(signer: Signer, known: Sent) -> Checked:
    assert signer.certificate is not None
    receipts_from = known.request.receipts_from
    listed = not isinstance(receipts_from, tuple) or _is_one_of(names_of(signer.certificate), receipts_from)
    return Checked(
        subject=signer.verdict.subject or "",
        addresses=signer.verdict.addresses,
        signing_time=signer.verdict.signing_time,
        content_identifier=known.receipt.signed_content_identifier,
        listed=listed,
    )
