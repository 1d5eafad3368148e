"""A verdict layer by layer in plain words, and what each flag means: `domsec verify --explain`, `docs/verdicts.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from domsec.services import catalogue
from domsec.services.catalogue import Code
from domsec.services.verdict import (
    CountersignatureVerdict,
    EncryptionVerdict,
    Flag,
    LayerVerdict,
    SignerVerdict,
    Verdict,
)

LEVELS: Final[Mapping[str, str]] = {
    "none": "nothing shows where it comes from",
    "domain": "released from {domain}; who wrote it is not shown by a signature",
    "originator_vouched": "written by {originator}, for whose signature {domain} vouches",
    "originator_direct": "written by {originator}, by a signature of their own",
}
STATES: Final[Mapping[str, str]] = {
    "valid": "nothing was changed since it was signed, and the certificate leads to an issuer trusted for this",
    "invalid": "it does not hold: something was changed, or the certificate may not be used",
    "untrusted": "nothing was changed since it was signed, but nobody trusted here issued the certificate",
    "weak": "made with an algorithm or key that no longer proves anything",
    "unsupported": "made with an algorithm that is not known here",
    "no_certificate": "the signer's certificate is not at hand, so nothing can be checked",
    "null": "the empty signature: nobody signs, it only makes room for the domain's (RFC 3183 section 3)",
}
ROLES: Final[Mapping[str, str]] = {
    "originator": "the author's own signature",
    "domain": "a domain's word that it knows who sent this, and that it checked every signature inside (RFC 3183 3.2)",
    "review": "somebody's word that the message may leave (RFC 3183 3.4)",
    "attributes": "attributes that somebody added, such as a label (RFC 3183 3.3)",
    "unspecified": "around other signatures, without saying what for: a mail list, perhaps",
}
COVERAGES: Final[Mapping[str, str]] = {
    "plaintext": "it covers the text",
    "through_encryption": "it covers the text, by way of the author's signature inside the encryption",
    "ciphertext": "it covers only ciphertext: whoever signed need not have seen the text",
    "unknown": "whether it covers the text cannot be seen, an encryption inside is closed here",
}
_ADDRESSES: Final[Mapping[str, str]] = {
    "match": "its certificate names everybody in From",
    "mismatch": "its certificate does not name everybody in From",
    "not_present": "its certificate has no address to compare with From",
}
_RELATIONS: Final[Mapping[str, str]] = {
    "equal": "is the same as",
    "ascendant": "stands above",
    "mismatch": "does not cover",
    "not_comparable": "cannot be compared with",
}
_FORMS: Final[Mapping[str, str]] = {
    "rfc822": "the domain of its address",
    "dc": "its domain components",
    "x500": "its directory name",
    "mixed": "its directory name with domain components",
}
_KINDS: Final[Mapping[str, str]] = {
    "certs_only": "certificates without a signature: they say nothing of the message",
    "compressed": "compressed, which proves nothing",
    "rfc822": "a whole message, whose header fields are protected by what is around it",
    "content": "what was written",
    "unsupported": "cannot be read here, so nothing of it is believed",
}


def layers(verdict: Verdict) -> Iterator[str]:
    """Every layer from outside in, with what was seen in it; then what was seen in the message as a whole."""
    for layer in verdict.layers:
        yield from _layer(layer)
        yield from flags([f for f in verdict.flags if f.layer == layer.id])
    whole = [f for f in verdict.flags if f.layer is None]
    if whole:
        yield "the message as a whole"
        yield from flags(whole)


def embedded(verdict: Verdict) -> Iterator[str]:
    """What is to be said of each part that is protected by itself, and of the parts inside it."""
    for part in verdict.embedded:
        yield f"protected part {part}; it counts for nothing in the verdict on the message"
        if part.verdict is not None:
            yield from (f"  {line}" for line in (*layers(part.verdict), *embedded(part.verdict)))


def _layer(layer: LayerVerdict) -> Iterator[str]:
    yield f"layer {layer.id}: {_title(layer)}"
    for words in _about(layer):
        yield f"  {words}"


def _title(layer: LayerVerdict) -> str:
    if layer.kind == "null":
        return "empty signature"
    if layer.encryption is not None:
        return "encrypted"
    if layer.kind != "signed":
        return layer.kind
    role = f" as {' and '.join(layer.roles)}" if layer.roles else ", in no role"
    clear = " in the clear" if layer.form == "clear" else ""
    return f"signed{clear}{role}: {layer.state}"


def _about(layer: LayerVerdict) -> Iterator[str]:
    if layer.encryption is not None:
        yield from _encryption(layer.encryption)
        return
    if layer.kind in _KINDS:
        yield _KINDS[layer.kind]
        return
    yield from (ROLES[role] for role in layer.roles if role in ROLES)
    if layer.state is not None:
        yield STATES[layer.state]
    for signer in layer.signers:
        yield f"signer: {_signer(signer)}"
        for one in signer.countersignatures:
            yield from countersignature(one, "  ")
    if layer.mapping is not None:
        yield from _compared(layer.mapping)
    if layer.address is not None:
        yield _ADDRESSES[layer.address]
    if layer.kind == "signed" and layer.coverage is not None:
        yield COVERAGES[layer.coverage]
    if layer.expansion_history:
        yield "it bears the expansion history of a mail list"


def _encryption(encryption: EncryptionVerdict) -> Iterator[str]:
    some = "recipient" if len(encryption.recipients) == 1 else "recipients"
    opened = f"opened with the key of {encryption.opened_by}" if encryption.opened else "closed here"
    yield f"{encryption.cipher} for {len(encryption.recipients)} {some}, {opened}"
    for name in encryption.originator:
        yield f"who encrypted it says to be {name}, which proves nothing"
    yield "encryption says nothing of who sent it: anybody can encrypt to a public key"


def _signer(signer: SignerVerdict) -> str:
    who = signer.subject or "somebody whose certificate is not at hand"
    issued = f", issued by {signer.issuer}" if signer.issuer else ""
    words = [f"{who}{issued}", f"signature {signer.crypto}"]
    if signer.path is not None:
        words.append(f"path {signer.path}")
    if signer.revocation is not None:
        words.append(f"revocation {signer.revocation}")
    if signer.state != "valid" and signer.reason:
        words.append(signer.reason)
    return "; ".join(words)


def countersignature(one: CountersignatureVerdict, indent: str) -> Iterator[str]:
    """A signature over a signature, and those over it."""
    who = one.subject or "somebody whose certificate is not at hand"
    path = f", path {one.path}" if one.path else ""
    yield f"{indent}countersigned by {who}: signature {one.crypto}{path}" + (f", {one.reason}" if one.reason else "")
    for inner in one.countersignatures:
        yield from countersignature(inner, indent + "  ")


def _compared(mapping: Mapping[str, object]) -> Iterator[str]:
    compared = mapping["compared"]
    assert isinstance(compared, list)
    for domain, form, relation in compared:
        yield f"{_FORMS[form]} {_RELATIONS[relation]} {domain}"


def flags(found: Sequence[Flag]) -> Iterator[str]:
    """What was seen: for each flag the clause, what it means, what would have passed, and what to do."""
    for flag in found:
        entry = catalogue.entry(flag.code)
        yield f"  {flag.severity}: {flag.code}: {entry.meaning}"
        ours = "" if flag.clause.startswith("RFC") else ", in docs/decisions/rfc3183.md"
        yield f"    clause: {flag.clause}{ours}"
        yield f"    seen: {flag.text}"
        for title, text in texts(entry):
            yield f"    {title}: {text}"


def texts(entry: Code) -> Iterator[tuple[str, str]]:
    """What the catalogue says of a code beside its meaning, each with its title."""
    if entry.would_pass:
        yield "would have passed", entry.would_pass
    yield "how it comes about", entry.arises
    if entry.remedy:
        yield "what to do", entry.remedy
