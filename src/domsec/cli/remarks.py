"""What does not keep a certificate from serving, but somebody will stumble over: RFC 5280, RFC 8550, S/MIME BR.

S/MIME BR are the Baseline Requirements of the CA/Browser Forum for S/MIME certificates. They bind public CAs only; a
certificate that breaks them cannot be had from one, and software that checks them may refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from domsec import oids
from domsec.cms.certificates import Certificate
from domsec.errors import DomsecError
from domsec.services import names
from domsec.trust import usage
from domsec.trust.addresses import addresses
from domsec.trust.names import attribute_values, common_names

SOON: Final = timedelta(days=30)
LONGEST: Final = timedelta(days=825)  # S/MIME BR 6.3.2, strict and multipurpose
SERIAL_BITS: Final = 64  # of a random generator, S/MIME BR 7.1
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_FOR_OTHERS: Final = {  # S/MIME BR 7.1.2.3 f
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    oids.ANY_EXTENDED_KEY_USAGE: "any",
}


def remarks(certificate: Certificate, now: datetime) -> tuple[str, ...]:
    """Everything worth a remark, whatever role it is for. Raises nothing: what cannot be read is one."""
    found: list[str] = []
    for look in _LOOKS:
        try:
            found += look(certificate, now)
        except DomsecError as problem:
            found.append(f"it cannot be read: {problem}")
    return tuple(dict.fromkeys(found))


def _time(certificate: Certificate, now: datetime) -> Iterator[str]:
    left = certificate.not_after - now
    if timedelta(0) <= left <= SOON:
        yield f"it expires in {left.days} days, on {certificate.not_after:%Y-%m-%d}"
    if certificate.not_after - certificate.not_before > LONGEST:
        whole = (certificate.not_after - certificate.not_before).days
        yield f"it is valid for {whole} days; S/MIME BR 6.3.2 allows {LONGEST.days}"


def _usage(certificate: Certificate, _: datetime) -> Iterator[str]:
    if certificate.extension(usage.KEY_USAGE) is None:
        yield "it has no key usage, so its key may be used for anything (RFC 8550 4.4.2); S/MIME BR 7.1.2.3 wants one"
    purposes = usage.extended_key_usage(certificate)
    if purposes is None:
        yield "it has no extended key usage: RFC 8550 4.4.4 takes it for mail, S/MIME BR 7.1.2.3 wants emailProtection"
        return
    if beside := [name for oid, name in _FOR_OTHERS.items() if oid in purposes]:
        yield f"its extended key usage has {' and '.join(beside)}, which S/MIME BR 7.1.2.3 forbids"


def _names(certificate: Certificate, _: datetime) -> Iterator[str]:
    found = addresses(certificate)
    alternative = _alternative(certificate)
    elsewhere = alternative.get_values_for_type(x509.RFC822Name) if alternative is not None else ()
    for address in attribute_values(certificate.subject, oids.EMAIL_ADDRESS):
        if address not in elsewhere:
            yield (
                f"{names.printable(address)} stands in the subject only; RFC 8550 3 and S/MIME BR 7.1.4.2.1 want it in"
                " subjectAltName"
            )
    if len(found) > 1:
        yield f"it has {len(found)} addresses, and is taken for each: {', '.join(map(names.printable, found))}"
    for address in found:
        if address != address.strip():
            yield f"there are blanks around {names.printable(address.strip())}; peers need `lenient_address` for it"
        if "*" in address:
            yield f"{names.printable(address)} is no wildcard: mail programs take it for one mailbox, or none"
    for name in common_names(certificate):
        if "*" in name:
            yield f"the common name {names.printable(name)} is no wildcard: nothing of mail is compared with it"
        if any(names.same_name(name, role) for role in _ROLE_NAMES):
            yield (
                f"no public CA may put {name} into commonName (S/MIME BR 7.1.4.2.2): what one issues needs peers that"
                ' agree to naming = "mailbox"'
            )
    for name in alternative.get_values_for_type(x509.DNSName) if alternative is not None else ():
        yield f"it is for the server {names.printable(name)} as well, which S/MIME BR 7.1.4.2.1 forbids"


_ROLE_NAMES: Final = (*names.ROLE_NAMES.values(), names.CONFIDENTIALITY_AUTHORITY)


def _alternative(certificate: Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _key(certificate: Certificate, _: datetime) -> Iterator[str]:
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size % 8:
            yield f"its RSA key has {key.key_size} bits; S/MIME BR 6.1.5 wants a multiple of 8"
        if key.public_numbers().e < 65537:
            yield f"the exponent of its RSA key is {key.public_numbers().e}; S/MIME BR 6.1.6 wants 65537 or more"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        yield f"its key is on {key.curve.name}; S/MIME BR 6.1.5 knows P-256, P-384 and P-521"


def _issuer(certificate: Certificate, _: datetime) -> Iterator[str]:
    if certificate.issuer == certificate.subject:
        yield "it names itself as issuer: nobody vouches for it, it can only be pinned"
        return
    if certificate.serial <= 0 or certificate.serial.bit_length() < SERIAL_BITS - 8:  # zeros may lead
        yield f"its serial number is short; S/MIME BR 7.1 wants {SERIAL_BITS} random bits"
    if not _tells_of_revocation(certificate):
        yield "it names no place for revocation lists and no OCSP responder: those who require to know have to be told"


def _tells_of_revocation(certificate: Certificate) -> bool:
    kinds = {extension.oid for extension in certificate.extensions}
    if ExtensionOID.CRL_DISTRIBUTION_POINTS in kinds:
        return True
    if ExtensionOID.AUTHORITY_INFORMATION_ACCESS not in kinds:
        return False
    places = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    return any(place.access_method == AuthorityInformationAccessOID.OCSP for place in places)


_LOOKS: Final[tuple[Callable[[Certificate, datetime], Iterator[str]], ...]] = (_time, _usage, _names, _key, _issuer)
