"""Private keys from where an administrator says they are, each with its certificate and chain.

Files: PEM, PKCS#12 (RFC 7292) and bare PKCS#8 (RFC 5958) beside a certificate. Tokens: `domsec.stores.tokens`. Errors
name the file or the URI and never anything that is in it, nor the password (RFC 3183 section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from domsec import der, oids
from domsec.cms.certificates import Certificate
from domsec.cms.credential import Credential, credential_from_private_key, holds_key
from domsec.der import INTEGER, OCTET_STRING, SEQUENCE, Reader
from domsec.errors import ConfigurationError, DomsecError, KeyUnusable, MalformedMessage, Unsupported
from domsec.stores import pkcs11_uri
from domsec.stores.certificates import load_certificates
from domsec.stores.files import read_file
from domsec.stores.key_process import SCHEME, KeyProcessCredential, process_at
from domsec.stores.pem import Block, blocks, is_pem
from domsec.stores.pkcs11_uri import Pkcs11Uri
from domsec.trust import usage

MAXIMUM_SIZE = 1024 * 1024  # octets of a credential file

_PKCS7 = "1.2.840.113549.1.7."


def read_password(path: Path) -> bytes:
    """The password in a file: its first line. Raises ConfigurationError if there is none."""
    lines = read_file(path, 4096).splitlines()
    if not lines or not lines[0]:
        raise ConfigurationError(f"{path}: empty, expected a password in the first line")
    return lines[0]


def open_credentials(
    source: str | Path,
    password_file: Path | None = None,
    certificates: Sequence[Path] = (),
    *,
    environment_password: str | None = None,
    keyd_socket: Path | None = None,
) -> tuple[Credential, ...]:
    """The credentials that a configuration or a command line names by one source.

    One, except for `keyd:NAME`: then one for each certificate in `certificates` that is no CA's, with its key in the
    key process that listens at `keyd_socket`. That process is not asked here. Raises as `open_credential`.
    """
    if str(source).startswith(SCHEME):
        return _in_key_process(str(source), certificates, keyd_socket)
    return (open_credential(source, password_file, certificates, environment_password=environment_password),)


def open_credential(
    source: str | Path,
    password_file: Path | None = None,
    certificates: Sequence[Path] = (),
    *,
    environment_password: str | None = None,
) -> Credential:
    """The credential in a file or a token.

    `environment_password` is the value of DOMSEC_PASSWORD, used where no password file is named. Raises KeyUnusable,
    Unsupported or ConfigurationError, each naming the file, and StoreUnavailable for a token that is away.
    """
    if password_file is not None:
        return load_credential(source, password=read_password(password_file), certificates=certificates)
    password = environment_password.encode() if environment_password else None
    return load_credential(source, password=password, certificates=certificates)


def load_credential(
    source: str | Path, *, password: bytes | None = None, certificates: Sequence[Path] = ()
) -> Credential:
    """A private key with its certificate and chain, from a PEM or PKCS#12 file or from the token of a `pkcs11:` URI.

    Certificates stand in the same place, or in the files and folders `certificates`. A password that a file does not
    need is ignored; that of a token is its PIN, unless the URI says where it is. Raises KeyUnusable for a wrong or
    missing password and for a key without its certificate, ConfigurationError for a file that cannot be read and a URI
    that cannot be followed, StoreUnavailable for a token that does not answer.
    """
    beside = _certificates_in(certificates)
    if str(source).startswith(pkcs11_uri.SCHEME):
        return _from_token(pkcs11_uri.parse(str(source)), password, beside)
    path = Path(source)
    octets = read_file(path, MAXIMUM_SIZE)
    try:
        if is_pem(octets):
            key, own = _from_pem(octets, password)
        elif beside and _is_bare_key(octets):
            key, own = _from_der(octets, password), ()
        else:
            key, own = _from_pkcs12(octets, password)
        certificate, chain = _belonging(lambda c: _belongs(key, c), (*own, *beside))
        return credential_from_private_key(key, certificate, chain)
    except (KeyUnusable, Unsupported, MalformedMessage) as problem:
        raise KeyUnusable(f"{path}: {problem}") from None


def _certificates_in(places: Sequence[Path]) -> tuple[Certificate, ...]:
    """Raises ConfigurationError where there are none."""
    loaded = load_certificates(places)
    if places and not loaded.certificates:
        named = ", ".join(map(str, places))
        raise ConfigurationError(
            *(map(str, loaded.problems) if loaded.problems else [f"{named}: no certificate in it"])
        )
    return loaded.certificates


def _belonging(
    belongs: Callable[[Certificate], bool], certificates: Sequence[Certificate]
) -> tuple[Certificate, tuple[Certificate, ...]]:
    """The first certificate that belongs to a key, and of the others its chain as far as they link up.

    Raises KeyUnusable if none does.
    """
    certificates = tuple(dict.fromkeys(certificates))
    for number, certificate in enumerate(certificates):
        if belongs(certificate):
            return certificate, _chain(certificate, [*certificates[:number], *certificates[number + 1 :]])
    found = f"{len(certificates)} other certificates" if certificates else "no certificate"
    raise KeyUnusable(f"{found} beside the private key, expected its own")


def _belongs(key: PrivateKeyTypes, certificate: Certificate) -> bool:
    try:
        return certificate.public_key == key.public_key()
    except DomsecError:
        return False


def _chain(certificate: Certificate, others: list[Certificate]) -> tuple[Certificate, ...]:
    """Issuer, its issuer and so on, without a self-issued root. By name only: signatures are for path validation."""
    chain: list[Certificate] = []
    while issuer := next((c for c in others if c.subject == certificate.issuer and c.subject != c.issuer), None):
        others.remove(issuer)
        chain.append(issuer)
        certificate = issuer
    return tuple(chain)


def _from_token(uri: Pkcs11Uri, password: bytes | None, beside: tuple[Certificate, ...]) -> Credential:
    from domsec.stores.tokens import TokenCredential, TokenKey

    pin = read_password(uri.pin_source) if uri.pin_source is not None else password
    if pin is None:
        raise KeyUnusable(f"{uri}: no PIN, expected pin-source in the URI, or a password")
    try:
        key = TokenKey(uri, pin.decode())
    except UnicodeDecodeError:
        raise KeyUnusable(f"{uri}: the PIN is not UTF-8") from None

    def belongs(certificate: Certificate) -> bool:
        try:
            return key.fits(certificate) and holds_key(TokenCredential(key, certificate))
        except (KeyUnusable, Unsupported, MalformedMessage):
            return False

    try:
        certificate, chain = _belonging(belongs, (*key.certificates(), *beside))
    except KeyUnusable as problem:
        raise KeyUnusable(f"{uri}: {str(problem).removeprefix(f'{uri}: ')}") from None
    return TokenCredential(key, certificate, chain)


def _in_key_process(source: str, places: Sequence[Path], path: Path | None) -> tuple[Credential, ...]:
    if path is None:
        raise ConfigurationError(f"{source}: no key process is known, expected keyd.socket")
    found = _certificates_in(places)
    own = [certificate for certificate in found if not usage.is_ca(certificate)]
    if not own:
        raise ConfigurationError(f"{source}: no certificate beside it, expected that of the key")
    return in_key_process(source, own, [certificate for certificate in found if usage.is_ca(certificate)], path)


def in_key_process(
    source: str, certificates: Iterable[Certificate], authorities: Sequence[Certificate], path: Path
) -> tuple[KeyProcessCredential, ...]:
    """Credentials for certificates whose keys the process at `path` holds under the name that `keyd:NAME` says."""
    process, name = process_at(path), source.removeprefix(SCHEME)
    return tuple(KeyProcessCredential(process, name, each, _chain(each, [*authorities])) for each in certificates)


def _from_pem(octets: bytes, password: bytes | None) -> tuple[PrivateKeyTypes, tuple[Certificate, ...]]:
    found = tuple(blocks(octets))
    keys = [block for block in found if block.label.endswith("PRIVATE KEY")]
    if len(keys) != 1:
        raise KeyUnusable(f"{len(keys)} private keys, expected one")
    certificates = tuple(
        Certificate(block.der) for block in found if block.label in ("CERTIFICATE", "X509 CERTIFICATE")
    )
    return _pem_key(keys[0], password), certificates


def _pem_key(block: Block, password: bytes | None) -> PrivateKeyTypes:
    encrypted = block.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block.inside
    if encrypted and password is None:
        raise KeyUnusable("the private key is encrypted and there is no password")
    try:
        if block.label == "PRIVATE KEY":
            return load_der_private_key(_seed_form(block.der), None)
        return load_pem_private_key(block.text, password if encrypted else None)
    except UnsupportedAlgorithm:
        raise KeyUnusable("a private key of a kind that is not supported") from None
    except (ValueError, TypeError, MalformedMessage):
        reason = "the password is wrong or the private key is broken" if encrypted else "the private key is broken"
        raise KeyUnusable(reason) from None


def _seed_form(octets: bytes) -> bytes:
    """A private key for ML-DSA or ML-KEM as its seed alone, where the seed is there (RFC 9881 6, RFC 9935 6).

    OpenSSL writes the expanded key behind it. Whether that one belongs to the seed is not checked and does not matter;
    that the key of the seed belongs to the certificate is checked with every key. Anything else is given back as it is.
    Raises KeyUnusable where there is an expanded key only.
    """
    try:
        reader = Reader(octets)
        reader.enter(SEQUENCE)
        reader.integer()
        algorithm = bytes(reader.skip())
        key = bytes(reader.octet_string())
        kind = Reader(algorithm)
        kind.enter(SEQUENCE)
        if kind.oid() not in _SEEDED:
            return octets
        inside = Reader(key)
        if inside.peek() == OCTET_STRING:
            raise KeyUnusable("an ML-DSA or ML-KEM private key without its seed, expected one with it")
        if inside.peek() != SEQUENCE:
            return octets
        inside.enter(SEQUENCE)
        seed = bytes(inside.octet_string())
    except MalformedMessage:
        return octets
    return der.sequence(der.integer(0), algorithm, der.octet_string(der.tlv(der.context(0, constructed=False), seed)))


_SEEDED = (oids.ML_DSA_44, oids.ML_DSA_65, oids.ML_DSA_87, oids.ML_KEM_768, oids.ML_KEM_1024)


def _is_bare_key(octets: bytes) -> bool:
    """Whether DER is not of PKCS#12, which begins with version 3 and a ContentInfo (RFC 7292 4)."""
    try:
        reader = Reader(octets)
        reader.enter(SEQUENCE)
        if reader.peek() == INTEGER and reader.integer() == 3:
            reader.enter(SEQUENCE)
            return not reader.oid().startswith(_PKCS7)
    except MalformedMessage:
        pass
    return True


def _from_der(octets: bytes, password: bytes | None) -> PrivateKeyTypes:
    octets = _seed_form(octets)
    for attempt in dict.fromkeys((None, password)):
        try:
            return load_der_private_key(octets, attempt)
        except TypeError:
            continue  # encrypted without a password, or the reverse
        except UnsupportedAlgorithm:
            raise KeyUnusable("a private key of a kind that is not supported") from None
        except ValueError:
            break
    if password is None:
        raise KeyUnusable("no private key that can be read without a password")
    raise KeyUnusable("the password is wrong or the private key is broken")


def _from_pkcs12(octets: bytes, password: bytes | None) -> tuple[PrivateKeyTypes, tuple[Certificate, ...]]:
    if octets[:1] != b"\x30":
        raise KeyUnusable("neither PEM nor PKCS#12")
    # without a password there are two ways to protect a PKCS#12 file: none at all, and with the empty one
    for attempt in (password,) if password is not None else (None, b""):
        try:
            store = pkcs12.load_pkcs12(octets, attempt)
        except UnsupportedAlgorithm:
            raise KeyUnusable("the PKCS#12 file is protected in a way that is not supported") from None
        except TypeError:  # X25519 and what is newer, which pyca 50 does not take from there
            raise KeyUnusable("a key of a kind that is not read from PKCS#12, expected PEM") from None
        except ValueError:
            continue
        if store.key is None:
            raise KeyUnusable("no private key in the PKCS#12 file")
        found = [store.cert] if store.cert else []
        certificates = (*found, *store.additional_certs)
        return store.key, tuple(Certificate(c.certificate.public_bytes(Encoding.DER)) for c in certificates)
    if password is None:
        raise KeyUnusable("not a PKCS#12 file that can be read without a password")
    raise KeyUnusable("the password is wrong or the PKCS#12 file is broken")
