"""What our domain has agreed with others: one `Peer` a domain (RFC 3183 3.1.1 "local conventions", decisions A-14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from domsec.trust.path import AnchorSet

Naming = Literal["strict", "mailbox", "pinned"]
CipherName = Literal["aes256-gcm", "aes192-gcm", "aes128-gcm", "aes256-cbc", "aes192-cbc", "aes128-cbc"]
SignatureName = Literal[
    "rsa-sha256", "rsa-sha384", "rsa-sha512", "rsa-pss-sha256", "rsa-pss-sha384", "rsa-pss-sha512",
    "ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
]  # fmt: skip
KeyManagement = Literal["oaep", "oaep-sha1", "pkcs1v15", "ecdh", "kem"]
DigestName = Literal["sha256", "sha384", "sha512"]
Target = Literal["auto", "dca", "recipient", "both", "no"]
MAPPING_FORMS = frozenset({"rfc822", "dc", "x500", "mixed"})


@dataclass(frozen=True, slots=True)
class Peer:
    """One agreement. Where a field is None the general policy decides."""

    domain: str  # A-labels, lower case
    subdomains: bool = True  # whether it holds for domains below as well
    naming: Naming = "strict"
    pins: tuple[str, ...] = ()  # SHA-256 of certificates in hex, for naming = "pinned"
    anchors: AnchorSet | None = None  # tried before the general store of role anchors
    mapping_forms: frozenset[str] = MAPPING_FORMS
    distinguished_name: bytes | None = None  # DER Name that stands for the domain's originators (decisions A-16)
    max_ascent: int | None = None  # how many labels above an originator's domain its authority may stand
    lenient_address: bool = False  # white space around an address of an authority is dropped
    domsec: bool = True  # known to have a gateway that reads what RFC 3183 makes (decisions A-62)
    sign: bool | None = None
    user_signature: Literal["never", "if-held", "required"] | None = None
    encrypt: Target | None = None
    cipher: CipherName | None = None
    key_transport: Literal["oaep", "pkcs1v15"] | None = None
    signature: Literal["pkcs1", "pss"] | None = None
    digest: DigestName | None = None
    wrap_rfc822: bool | None = None
    header_confidentiality: Literal["none", "baseline"] | None = None
    clear_unsigned: bool = False  # domain signature in the clear right over a plain part (decisions A-12)
    sigtype_oid: Literal["id-aa-signatureType", "id-sti"] = "id-aa-signatureType"
    expect_signed: bool = False
    expect_encrypted: bool = False
    accept_signature: tuple[SignatureName, ...] = ()  # none: all that is not weak; so the other two
    accept_cipher: tuple[CipherName, ...] = ()
    accept_key_transport: tuple[KeyManagement, ...] = ()
    accept_outer_domain: bool = False
    revocation: Literal["hard", "soft", "off"] | None = None


@dataclass(frozen=True, slots=True)
class Peers:
    """The agreements, found by domain."""

    entries: tuple[Peer, ...] = ()
    _by_domain: dict[str, Peer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_domain", {peer.domain: peer for peer in self.entries})

    def of(self, domain: str) -> Peer | None:
        """The agreement for a domain: its own, else that of the nearest one above which includes those below."""
        own = self._by_domain.get(domain)
        if own is not None:
            return own
        while "." in domain:
            domain = domain.partition(".")[2]
            above = self._by_domain.get(domain)
            if above is not None and above.subdomains:
                return above
        return None

    def common(self, domains: Iterable[str]) -> Peer | None:
        """The one agreement that holds for all these domains, None where there is none or they differ."""
        found = {id(peer): peer for peer in (self.of(domain) for domain in domains)}
        return next(iter(found.values())) if len(found) == 1 else None
