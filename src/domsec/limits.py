"""What a stranger can ask of us, at most. One value, passed in; each limit has a test at its edge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one message. Sizes in octets. Numbers: `spec/algorithms.md` 0, measurements-crypto B4."""

    depth: int = 16  # security layers on the spine; deepest seen in practice is 5
    mime_depth: int = 32  # nested multiparts
    mime_parts: int = 1000
    embedded: int = 16  # protected parts inside the content that are judged, with those inside them
    header_fields: int = 1000
    header_size: int = 512 * 1024
    size: int = 64 * 1024 * 1024  # the message as it arrives
    expanded: int = 256 * 1024 * 1024  # what decompression may yield, of all layers of a message together
    ratio: int = 100  # and how many times its input
    der_depth: int = 64
    der_values: int = 20_000  # tag-length-values read in one structure, segments of strings counted by size
    certificates: int = 256
    certificate_size: int = 32 * 1024
    crls: int = 64
    signers: int = 16
    attributes: int = 64
    attributes_size: int = 64 * 1024
    recipients: int = 1000
    rsa_bits: int = 8192
    rsa_exponent_bits: int = 64  # of a public key: a long one makes checking a signature as slow as making one
    certificate_candidates: int = 4  # certificates tried for one SignerInfo
    recipient_candidates: int = 4  # RecipientInfos tried with our keys
    path_length: int = 10  # certificates in one path, the anchor included
    path_tries: int = 100  # signatures checked while looking for one
    path_candidates: int = 8  # complete paths judged by RFC 5280
    answer_size: int = 1024 * 1024  # what a directory sends for one question
    answer_certificates: int = 32  # and how many certificates are in it


DEFAULT = Limits()
