"""Every option of the configuration file, each declared once: its place, kind, default, documentation and an example.

A section of the file is a dataclass here; its docstring documents the section and each field is an option.
`domsec.policy.configuration` fills them from a file, `domsec.policy.reference` prints them as documentation.
"""

# ruff: noqa: RUF009  (the calls in the dataclasses are the declarations)

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from domsec.limits import Limits
from domsec.mime.addresses import Mailbox
from domsec.policy.kinds import (
    ADDRESS,
    ADDRESSES,
    BOOLEAN,
    CREDENTIALS,
    DESTINATIONS,
    DIGESTS,
    DOMAIN,
    DOMAINS,
    DURATION,
    ENDPOINT,
    FIELD_NAME,
    FILE,
    FILES,
    FOLDER,
    FORMS,
    HEADER_TESTS,
    LDAP_URL,
    LIST_CREDENTIAL,
    MILTER,
    MODE,
    NAME,
    NETWORKS,
    NEW_FILE,
    OIDS,
    PLACE_OR_PLACES,
    PLACES,
    ROLE_CREDENTIALS,
    STORE_URL,
    STRING,
    STRINGS,
    TAG,
    TCP_ADDRESS,
    TEXT_OR_TEXTS,
    TO_WHOM,
    TOKEN,
    UNIX_PATH,
    USER_FOLDER,
    USERS,
    WHO,
    Endpoint,
    HeaderTest,
    Kind,
    LdapUrl,
    Networks,
    TcpAddress,
    choice,
    integer,
    list_of,
)
from domsec.services.peer import (
    MAPPING_FORMS,
    CipherName,
    DigestName,
    KeyManagement,
    Naming,
    SignatureName,
    Target,
)

T = TypeVar("T")

SignWish = Literal["required", "if-possible", "never"]
EncryptWish = Literal["required", "if-possible", "never"]
EncryptTarget = Literal["auto", "dca", "recipient", "both"]
UnknownDomains = Literal["pass", "hold", "reject"]
HoldOrReject = Literal["hold", "reject"]
Strip = Literal["verified", "domain", "none"]
AfterDecrypt = Literal["deliver", "user"]
Refusal = Literal["hold", "reject", "pass"]
NoCertificate = Literal["hold", "reject", "clear"]
Violation = Literal["hold", "reject", "deliver"]
Revocation = Literal["hard", "soft", "off"]
Fetch = Literal["no", "crls", "ocsp", "both"]
Signature = Literal["pkcs1", "pss"]
KeyTransport = Literal["oaep", "pkcs1v15"]
HeaderConfidentiality = Literal["none", "baseline"]
SigtypeOid = Literal["id-aa-signatureType", "id-sti"]
EvidenceKind = Literal["network", "header", "xclient", "certificate", "local", "results", "dkim"]
DirectoryKind = Literal["ldap", "smimea"]
Banner = Literal["no", "verified", "all"]
HopTls = Literal["no", "may", "verify"]
Harvest = Literal["no", "quarantine", "renewals", "trusted"]
Grouping = Literal["member", "domain", "all"]
ListReceipts = Literal["as-asked", "none", "instead-of", "in-addition-to"]

UserSignature = Literal["never", "if-held", "required"]
OpenPgpWish = Literal["encapsulate", "pass"]

SIGN_WISH: Kind[SignWish] = choice("required", "if-possible", "never")
USER_SIGNATURE: Kind[UserSignature] = choice("never", "if-held", "required")
OPENPGP: Kind[OpenPgpWish] = choice("encapsulate", "pass")
TARGET: Kind[Target] = choice("auto", "dca", "recipient", "both", "no")
DIRECTION: Kind[Literal["outbound", "inbound"]] = choice("outbound", "inbound")
ENCRYPT_WISH: Kind[EncryptWish] = choice("required", "if-possible", "never")
LIST_TARGET: Kind[EncryptTarget] = choice("auto", "recipient", "dca", "both")
REFUSAL: Kind[Refusal] = choice("hold", "reject", "pass")
NO_CERTIFICATE: Kind[NoCertificate] = choice("hold", "reject", "clear")
UNKNOWN_DOMAINS: Kind[UnknownDomains] = choice("pass", "hold", "reject")
VIOLATION: Kind[Violation] = choice("hold", "reject", "deliver")
REVOCATION: Kind[Revocation] = choice("hard", "soft", "off")
FETCH: Kind[Fetch] = choice("no", "crls", "ocsp", "both")
PORTS = list_of(integer(1, 65535), "a list of port numbers")
SIGNATURE: Kind[Signature] = choice("pkcs1", "pss")
KEY_TRANSPORT: Kind[KeyTransport] = choice("oaep", "pkcs1v15")
CIPHER: Kind[CipherName] = choice(*get_args(CipherName))
CIPHERS: Kind[tuple[CipherName, ...]] = list_of(CIPHER, "a list of ciphers")
SIGNATURES: Kind[tuple[SignatureName, ...]] = list_of(
    cast("Kind[SignatureName]", choice(*get_args(SignatureName))), "a list of signature algorithms"
)
KEY_MANAGEMENT: Kind[tuple[KeyManagement, ...]] = list_of(
    cast("Kind[KeyManagement]", choice(*get_args(KeyManagement))), "a list of ways to encrypt a content key"
)
DIGEST: Kind[DigestName] = choice("sha256", "sha384", "sha512")
NAMING: Kind[Naming] = choice("strict", "mailbox", "pinned")
KEY_NAMING: Kind[Literal["strict", "mailbox"]] = choice("strict", "mailbox")
HEADER_CONFIDENTIALITY: Kind[HeaderConfidentiality] = choice("none", "baseline")
SIGTYPE_OID: Kind[SigtypeOid] = choice("id-aa-signatureType", "id-sti")
EVIDENCE_KIND: Kind[EvidenceKind] = choice("network", "header", "xclient", "certificate", "local", "results", "dkim")
RECEIPTS: Kind[ListReceipts] = choice("as-asked", "none", "instead-of", "in-addition-to")
GROUPING: Kind[Grouping] = choice("member", "domain", "all")
COPY_OR_DROP: Kind[Literal["copy", "drop"]] = choice("copy", "drop")
STRIPPED_LABELS: Kind[Literal["hold", "carry", "drop"]] = choice("hold", "carry", "drop")
HOLD_OR_REJECT: Kind[HoldOrReject] = choice("hold", "reject")
AUDIT_DCA: Kind[Literal["none", "own"]] = choice("none", "own")
EMBEDDED: Kind[Literal["ignore", "report", "require"]] = choice("ignore", "report", "require")
STRIP: Kind[Strip] = choice("verified", "domain", "none")
HOP_TLS: Kind[HopTls] = choice("no", "may", "verify")
HARVEST: Kind[Harvest] = choice("no", "quarantine", "renewals", "trusted")
BANNER: Kind[Banner] = choice("no", "verified", "all")
AFTER_DECRYPT: Kind[AfterDecrypt] = choice("deliver", "user")
DIRECTORY_KIND: Kind[DirectoryKind] = choice("ldap", "smimea")
BELIEVE: Kind[Literal["dnssec", "anchors"]] = choice("dnssec", "anchors")
LEVEL: Kind[Literal["debug", "info", "warning", "error"]] = choice("debug", "info", "warning", "error")
FORMAT: Kind[Literal["json", "text"]] = choice("json", "text")


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it is documented.

    `default` is TOML text, None where the option must be given, "" where it may be absent.
    """

    name: str
    kind: Kind[object]
    default: str | None
    documentation: str
    example: str


def _declared(kind: Kind[T], value: object, documentation: str, example: str, default: str | None) -> object:
    metadata = {"option": (kind, documentation, example, default)}
    if default is None:
        return field(metadata=metadata)
    return field(default=value, metadata=metadata)


def option(kind: Kind[T], default: T, documentation: str, example: str, *, written: str | None = None) -> T:
    """An option with a default. `written` is the default in TOML text, where that does not follow from the value."""
    return cast("T", _declared(kind, default, documentation, example, written or as_toml(default)))


def optional(kind: Kind[T], documentation: str, example: str) -> T | None:
    """An option that may be absent, which is None."""
    return cast("T | None", _declared(kind, None, documentation, example, ""))


def required(kind: Kind[T], documentation: str, example: str) -> T:
    """An option without which its section means nothing."""
    return cast("T", _declared(kind, None, documentation, example, None))


def as_toml(value: object) -> str:
    """A default as one would write it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple() | frozenset():
            return "[" + ", ".join(as_toml(item) for item in sorted(value, key=str)) + "]"
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """Options at the top of the file, before the first section."""

    domains: tuple[str, ...] = required(
        DOMAINS,
        "The mail domains this installation speaks for. Mail from them and from domains below them may get our domain "
        "signature; mail from others never does.",
        '["acme.example"]',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the gateway listens. The listener sets the direction of mail; it is never guessed from addresses."""

    outbound: Endpoint | None = optional(
        ENDPOINT,
        "Takes mail from our users on its way out: to be signed and encrypted.",
        '"lmtp:unix:/run/domsec/outbound.sock"',
    )
    inbound: Endpoint | None = optional(
        ENDPOINT,
        "Takes mail from outside on its way in: to be decrypted and verified.",
        '"lmtp:unix:/run/domsec/inbound.sock"',
    )
    milter: Endpoint | None = optional(
        MILTER,
        "Is asked by a mail server about mail from outside that stays with it: verifies signatures, writes our "
        "Authentication-Results and removes forged ones, and refuses, defers or quarantines what `[inbound]` does not "
        "let through. It opens nothing that is encrypted, and signs nothing (docs/postfix.md).",
        '"unix:/run/domsec/milter.sock"',
    )
    metrics: TcpAddress | None = optional(
        TCP_ADDRESS, "Serves `/metrics`, `/healthz` and `/readyz` by HTTP.", '"127.0.0.1:9183"'
    )
    workers: int = option(integer(0, 256), 0, "Worker processes; 0 is one for each processor core.", "4")
    hostname: str | None = optional(
        DOMAIN,
        "Our name in Received fields and towards next hops. Without it the name of this machine is used.",
        '"gateway.acme.example"',
    )
    trusted_clients: Networks = option(
        NETWORKS,
        Networks(unix=True),
        "Clients whose XFORWARD and XCLIENT commands are believed; `unix` is everybody who may open our Unix sockets.",
        '["127.0.0.0/8", "::1", "unix"]',
        written='["unix"]',
    )
    socket_mode: int = option(MODE, 0o660, "File permissions of our Unix sockets.", '"0660"', written='"0660"')
    tls: Path | None = optional(
        FILE,
        "Private key, certificate and chain in one PEM file: with it STARTTLS is offered to clients that come by TCP. "
        "Read anew on reload.",
        '"/etc/domsec/tls.pem"',
    )
    require_tls: bool = option(
        BOOLEAN, False, "Clients that come by TCP have to use it, or get 530 for each MAIL command.", "true"
    )
    tls_clients: tuple[Path, ...] = option(
        FILES,
        (),
        "With `tls`: CA certificates as PEM. Clients are then asked for a certificate by one of them, which is "
        "evidence of kind `certificate`. A client without one goes on as before.",
        '["trust/machines-ca.pem"]',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHop:
    """Where the gateway gives mail to. A message is accepted only after the next hop has accepted it."""

    outbound: Endpoint | None = optional(
        ENDPOINT, "Next hop of what came by `listen.outbound`.", '"smtp:127.0.0.1:10026"'
    )
    inbound: Endpoint | None = optional(
        ENDPOINT, "Next hop of what came by `listen.inbound`.", '"smtp:127.0.0.1:10027"'
    )
    tls: HopTls = option(
        HOP_TLS,
        "no",
        "STARTTLS towards next hops that are reached by TCP. `may`: where it is offered, whatever the certificate. "
        "`verify`: nothing is sent but to whoever shows a certificate for the host that is configured; mail waits "
        "otherwise. A handshake that fails defers the mail: it is not tried in the clear.",
        '"verify"',
    )
    ca: tuple[Path, ...] = option(
        PLACES,
        (),
        'With `tls = "verify"`: who may certify the host. Empty is what this machine trusts for TLS.',
        '["trust/smarthost-ca.pem"]',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The private key of one role with its certificate, or several while one takes over from another.

    One certificate serves one role only (RFC 3183 3.1.1), and so does one key (decisions A-45).
    """

    credential: tuple[str, ...] = required(
        ROLE_CREDENTIALS,
        "Private key with certificate and chain: PEM with all in one file, PKCS#12, a `pkcs11:` URI (RFC 7512) with "
        "`module-path` and `pin-source`, or `keyd:` and the role for keys that the key process holds (`[keyd]`). Of "
        "several the newest whose certificate is valid is used, from the moment it becomes valid; what is encrypted to "
        "any of them is opened (docs/keys.md).",
        '["acme-dsa-2026.p12", "acme-dsa-2027.p12"]',
    )
    certificates: tuple[Path, ...] = option(
        PLACE_OR_PLACES,
        (),
        "Certificates and chains, where a credential holds only the key. With `keyd:` each certificate here that is "
        "no CA's is taken for one of our own.",
        '"acme-dsa.pem"',
    )
    password_file: Path | None = optional(
        FILE,
        "File with the password of the credentials in its first line, for a token its PIN. Without it the password is "
        "taken from the environment variable DOMSEC_PASSWORD. A password is never written into the configuration.",
        '"acme-dsa.password"',
    )
    naming: Literal["strict", "mailbox"] = option(
        KEY_NAMING,
        "strict",
        "How the certificate names the role: as RFC 3183 3.1.1 says, or `mailbox`, by its address only, as public CAs "
        "issue them. Partners accept the latter only if they agreed (decisions A-14).",
        '"mailbox"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidentialityKey(Key):
    """As the other keys, and the keys that came before it."""

    previous: tuple[str, ...] = option(
        CREDENTIALS,
        (),
        "Credentials of former domain-confidentiality-authorities, so that mail still encrypted to them can be opened. "
        "Their certificates may have expired. The same password holds for them.",
        '["acme-dca-2025.p12"]',
    )
    pkcs1v15: bool = option(
        BOOLEAN,
        True,
        "Whether an RSA key opens what is encrypted by PKCS#1 v1.5, as many mail programs do. `false`, here or in the "
        "configuration of the key process, leaves it closed like all that does not open: its padding has told much "
        "wherever somebody could ask often enough. OAEP and keys on curves have no such weakness.",
        "false",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of our roles, each absent where this installation does not play the role."""

    signing: Key | None = None
    confidentiality: ConfidentialityKey | None = None
    review: Key | None = None
    attributes: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """The gateway as a whole."""

    shadow: bool = option(
        BOOLEAN,
        False,
        'Decides about all mail, writes into the log what would have become of it (`"shadow": true`), and passes it on '
        "as it came: nothing is signed, encrypted, opened, held or refused by policy, so what policy wants protected "
        "leaves in clear. For a chain that had no domsec before ([rules.md](rules.md)).",
        "true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyd:
    """The key process (`domsec keyd`), which holds private keys so that no process that reads mail has to.

    It has a configuration file of its own, which only its user can read, with `domains`, this section, and `[keys.*]`,
    `[users]` and `[[list]]` for the keys. In the gateway's configuration `socket` says where to ask for keys named
    `keyd:ROLE`, `keyd:users` and `keyd:lists`.
    """

    socket: Path = option(
        UNIX_PATH,
        Path("/run/domsec-keyd/socket"),
        "The Unix socket where the key process is asked.",
        '"/run/domsec-keyd/socket"',
        written='"/run/domsec-keyd/socket"',
    )
    socket_mode: int = option(MODE, 0o660, "File permissions of the socket.", '"0660"', written='"0660"')
    group: str | None = optional(TOKEN, "Group of the socket. Without it that of the process.", '"domsec"')
    clients: tuple[str, ...] = option(
        USERS,
        (),
        "Users whose processes may ask for keys of roles and of users, whatever the permissions of the socket say. The "
        "key process's own user and root always may ask, for all keys.",
        '["domsec"]',
    )
    list_clients: tuple[str, ...] = option(
        USERS,
        (),
        "Users whose processes may ask for keys of mail lists, and for no others unless they are among `clients` too.",
        '["domsec-lists"]',
    )
    network: bool = option(
        BOOLEAN,
        False,
        "Leaves the key process in the network when it is started as root with `--user`: for a token that is reached "
        "by one.",
        "true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKeys:
    """Private keys that are held for users, to sign in their name where a recipient's domain has no gateway.

    Whose key one is stands in its certificate. How it works is told in [users.md](users.md).
    """

    folder: Path | str | None = optional(
        USER_FOLDER,
        "Folder with one file for each: PEM or PKCS#12 (.pem, .p12, .pfx), key, certificate and chain in it. Or "
        "`keyd:users` for keys that the key process holds, whose own configuration names such a folder.",
        '"users"',
    )
    certificates: tuple[Path, ...] = option(
        PLACE_OR_PLACES,
        (),
        "With `keyd:users`: certificates and chains. Each certificate here that is no CA's is a user's whose key the "
        "key process holds.",
        '"users"',
    )
    password_file: Path | None = optional(
        FILE,
        "File with the password of those that have none beside them, in NAME.password. Without it the password is "
        "taken from the environment variable DOMSEC_PASSWORD.",
        '"users.password"',
    )
    decrypt: bool = option(
        BOOLEAN,
        False,
        "Opens mail from outside that is encrypted to the certificate of a user, for that user and nobody else it is "
        "for. Keys that have expired or cannot sign serve as well. Keys that the key process holds do so where its own "
        "configuration says it too; else it lets them sign and nothing more.",
        "true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe about keys. Role certificates and people's certificates have separate anchors (decisions A-25).

    Files hold PEM, DER or PKCS#7; of a folder all files named .pem, .crt, .cer, .der, .p7b, .p7c, .crl and .ors are
    read.
    """

    roles: tuple[Path, ...] = option(
        PLACES,
        (),
        "Anchors for certificates of domain authorities. Not a general list of public CAs: each of them could name "
        "itself the authority of any domain.",
        '["trust/roles"]',
    )
    users: tuple[Path, ...] = option(PLACES, (), "Anchors for certificates of people.", '["trust/users"]')
    certificates: tuple[Path, ...] = option(
        PLACES,
        (),
        "Certificates to encrypt to, and intermediate ones for building paths. Being listed here makes none of them "
        "trusted.",
        '["certificates"]',
    )
    crls: tuple[Path, ...] = option(PLACES, (), "Revocation lists and OCSP responses.", '["crls"]')
    revocation: Revocation = option(
        REVOCATION,
        "soft",
        "`hard`: a certificate whose status is not known is not used. `soft`: only a revoked one is not used. "
        "`off`: revocation is not looked at.",
        '"hard"',
    )
    expiry_alarm: int = option(
        integer(0, 3650),
        30,
        "How many days before its end a certificate is due for replacement. The running gateway then says so in the "
        "log once a day, for our own certificates and for the approved ones of the store; `/metrics` shows the ends. "
        "0 is never.",
        "60",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryOptions:
    """A directory that is asked for certificates of partners, where those at hand do not suffice (RFC 3183 4.2).

    All directories that serve a domain are asked at once. What an LDAP server has is trusted no more than what stands
    in `trust.certificates`; it has to lead to an anchor. How it works is told in [discovery.md](discovery.md).
    """

    kind: DirectoryKind = required(
        DIRECTORY_KIND, "`ldap`: an LDAP server. `smimea`: what domains publish in signed DNS (RFC 8162).", '"smimea"'
    )
    domains: tuple[str, ...] = option(
        DOMAINS,
        (),
        "The domains whose people and authorities it has, those below included. Empty is every domain; mail to all of "
        "them then has to wait for this directory.",
        '["beta.example"]',
    )
    url: LdapUrl | None = optional(
        LDAP_URL, "For `ldap`: the server. Referrals to others are not followed.", '"ldaps://ldap.beta.example"'
    )
    starttls: bool = option(
        BOOLEAN,
        True,
        "With `ldap://`: StartTLS, without which nothing is asked. `false` asks in the clear: everybody on the way sees"
        " to whom you write.",
        "false",
    )
    ca: tuple[Path, ...] = option(
        PLACES,
        (),
        "Who may certify the server's name. Empty is what this machine trusts for TLS.",
        '["trust/ldap-ca.pem"]',
    )
    resolver: TcpAddress = option(
        TCP_ADDRESS,
        TcpAddress("127.0.0.1", 53),
        "For `smimea`: a resolver that validates DNSSEC, at a loopback address of this machine, since what it says of "
        "that is believed. TCP is used.",
        '"127.0.0.1:5335"',
        written='"127.0.0.1:53"',
    )
    believe: Literal["dnssec", "anchors"] = option(
        BELIEVE,
        "dnssec",
        "For `smimea`: `dnssec` believes a domain that says in signed DNS, by usages 2 and 3, which certificates its "
        "own addresses have, also where no path leads to an anchor: so domains that never met can write to each other. "
        "`anchors` wants the path as well.",
        '"anchors"',
    )
    base: str | None = optional(
        STRING,
        "Where people are looked for by their mail address, with all below. Without it only entries of authorities are "
        "read, under their mapped names, as `cn=domain-confidentiality-authority,dc=beta,dc=example`.",
        '"dc=beta,dc=example"',
    )
    mail_attribute: str = option(
        TOKEN, "mail", "The attribute in which an entry has its mail address.", '"rfc822Mailbox"'
    )
    bind_dn: str | None = optional(
        STRING, "The name to log in with. Without it nobody logs in.", '"cn=domsec,dc=beta,dc=example"'
    )
    password_file: Path | None = optional(FILE, "File with its password in the first line.", '"ldap-password"')
    timeout: int = option(
        integer(1, 60),
        5,
        "Seconds for one question. Then the mail is put off; it comes again.",
        "10",
    )
    keep: int = option(integer(0, 604_800), 3600, "Seconds until a certificate it had is asked for again.", "600")
    keep_nothing: int = option(
        integer(0, 86_400), 600, "Seconds until a certificate it did not have is asked for again.", "60"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """How revocation is kept fresh. It is never fetched while a message waits, but beside: for the certificates of
    every path that holds, from the places that they name, by HTTP. What was fetched survives a restart.
    """

    fetch: Fetch = option(
        FETCH,
        "no",
        "`crls`: revocation lists. `ocsp`: a response of the issuer's responder about each certificate, which tells it "
        "with whom we exchange mail. `both`, or `no`: nothing but `trust.crls`.",
        '"crls"',
    )
    folder: Path | None = optional(
        FOLDER, "Where what was fetched is kept; written by the gateway's user alone.", '"/var/lib/domsec/revocation"'
    )
    every: timedelta = option(
        DURATION,
        timedelta(hours=1),
        "How often a place is asked, with If-Modified-Since; sooner where what is known ends before.",
        '"4h"',
        written='"1h"',
    )
    size: int = option(
        integer(1024),
        32 * 1024 * 1024,
        "Octets of everything that was fetched, together. In memory a revocation list takes some eight times its size, "
        "in each worker. Of what comes when there is no room nothing is used; that is in the log.",
        "67108864",
    )
    ports: tuple[int, ...] = option(PORTS, (80,), "Ports that may be asked.", "[80, 8080]")
    networks: Networks = option(
        NETWORKS,
        Networks(),
        "Addresses that may be asked though they are not public: loopback, private and link-local ones never are "
        "otherwise, since a certificate could name them.",
        '["10.1.2.0/28"]',
        written="[]",
    )
    grace: timedelta | None = optional(
        DURATION,
        "How long a revocation list or OCSP response is believed after its end, for want of a newer one. Those of "
        "`trust.crls` as well. Without it not at all.",
        '"12h"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How the originator of outbound mail is known (RFC 3183 3.2: "some mechanism external to S/MIME").

    Without any of these nothing is signed, unless the mail bears a valid signature of its originator. Every mailbox of
    the From field needs evidence. `network` needs `networks`, `header` needs `token_file`, `local` needs `logins`,
    `certificate` needs `logins`, `results` needs `networks` and `authserv_id`, `dkim` also `selectors`.
    """

    kind: EvidenceKind = required(
        EVIDENCE_KIND,
        "`network`: the client's address, as connected or by XFORWARD of a trusted client. `header`: a field that our "
        "own mail server put above its Received field, with an installation token and the login (measurements-mail "
        "A5). `xclient`: the LOGIN of XCLIENT from a trusted client. `certificate`: the TLS client certificate, whose "
        "fingerprint stands in such a field, or that was shown to us (`listen.tls_clients`). "
        "`local`: the user of this machine who is at the other end of a Unix socket. `results`: `auth=pass` in the "
        "Authentication-Results of an upstream server of ours (RFC 8601 2.7.4), above its Received field. "
        "`dkim`: `dkim=pass` there, of the very domain in From and a key that only whoever hosts our mailboxes has "
        "(docs/cloud.md).",
        '"header"',
    )
    networks: Networks = option(
        NETWORKS,
        Networks(),
        "For `network`: the client networks. For `results` and `dkim`: the addresses of the upstream server, which has "
        "to be connected itself.",
        '["192.0.2.0/24"]',
        written="[]",
    )
    domains: tuple[str, ...] = option(
        DOMAINS, (), "The From domains this evidence is good for. Empty is all of ours.", '["acme.example"]'
    )
    header: str = option(FIELD_NAME, "X-Domsec-Auth", "For `header` and `certificate`: the name of the field.",
                         '"X-Domsec-Auth"')  # fmt: skip
    token_file: Path | None = optional(
        FILE,
        "For `header` and `certificate`: file with the token that precedes login or fingerprint in the field. "
        "Without it `certificate` is the one that was shown to us.",
        '"auth-token"',
    )
    authserv_id: str | None = optional(
        TOKEN,
        "For `results` and `dkim`: the name of the upstream server in its Authentication-Results.",
        '"mx.acme.example"',
    )
    selectors: tuple[str, ...] = option(
        STRINGS,
        (),
        "For `dkim`: the selectors (`header.s`) of the keys that count. A domain often has keys for others too, who "
        "send newsletters, say: theirs prove nothing about a person.",
        '["selector1", "selector2"]',
    )
    logins: Path | None = optional(
        FILE,
        "For all kinds but `network`: which addresses each login may use in From, a text table as of Postfix: login, "
        "white space, addresses or @domains (and those below) separated by commas. For `certificate` the SHA-256 "
        "fingerprint stands in place of the login, for `local` the name of the user. Without `logins` and `owners` the "
        "login has to equal the From address.",
        '"logins"',
    )
    owners: Path | None = optional(
        FILE,
        "For `header`, `xclient` and `results`: the same by address, the text table of Postfix's "
        "`smtpd_sender_login_maps`: address or @domain (without those below), white space, logins separated by commas.",
        '"/etc/postfix/senders"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """What happens to mail of our users. A `[[peer]]` entry may differ for its domain."""

    sign: SignWish = option(
        SIGN_WISH,
        "required",
        "Domain signature: `required` applies `on_refusal` to mail that may not be signed, `if-possible` lets it pass "
        "unsigned, `never` signs nothing.",
        '"required"',
    )
    encrypt: Target = option(
        TARGET,
        "auto",
        "Encrypt to the recipient's own certificate (`recipient`), to the authority of the recipient's domain (`dca`),"
        " to both, or not at all (`no`). `auto` takes what is found: the authority first where the domain is known to "
        "do DOMSEC, the recipient's own first elsewhere.",
        '"dca"',
    )
    require_encryption: bool = option(
        BOOLEAN,
        False,
        "Nothing leaves in clear: `on_no_certificate` applies also to recipients whose domain has no DOMSEC gateway.",
        "true",
    )
    on_refusal: Refusal = option(
        REFUSAL,
        "hold",
        "What happens to mail that the signing gate of RFC 3183 3.2 refuses. `pass` sends it unsigned.",
        '"reject"',
    )
    on_no_certificate: NoCertificate = option(
        NO_CERTIFICATE,
        "hold",
        "What happens for recipients to whom we should encrypt but for whom no usable certificate is found. `clear` "
        "sends unencrypted.",
        '"reject"',
    )
    unknown_domains: UnknownDomains = option(
        UNKNOWN_DOMAINS,
        "pass",
        "What happens to mail for domains not known to have a DOMSEC gateway, which could not read what we make "
        "(decisions A-62). `pass` sends the mail as it is.",
        '"hold"',
    )
    user_signature: UserSignature = option(
        USER_SIGNATURE,
        "never",
        "Signs in the name of the user in From, with a key of `[users]`, for recipients whose domain is not known to "
        "have a DOMSEC gateway: mail programs warn where the signer is somebody else. `if-held` where there is a key "
        "and the gate lets it; `required` applies `on_refusal` to the others. What is signed or encrypted already is "
        "not touched.",
        '"if-held"',
    )
    openpgp: OpenPgpWish = option(
        OPENPGP,
        "encapsulate",
        "What users have encrypted with OpenPGP (PGP/MIME): `encapsulate` signs and encrypts it like other mail, `pass`"
        " sends it as it is. What they signed with OpenPGP only, or wrote inline, is always like other mail.",
        '"pass"',
    )
    protect_headers: bool = option(
        BOOLEAN,
        True,
        "Puts From, To, Subject and so on into the signed part as well (RFC 9788), where we make the innermost layer.",
        "false",
    )
    wrap_rfc822: bool = option(
        BOOLEAN,
        False,
        "With `protect_headers`: puts the whole message into message/rfc822 for that, as RFC 8551 3.1 has it. Some "
        "mail programs show that as an attachment (decisions A-22).",
        "true",
    )
    header_confidentiality: HeaderConfidentiality = option(
        HEADER_CONFIDENTIALITY,
        "none",
        "With `protect_headers`, in what is encrypted: `baseline` leaves `Subject: [...]` outside, and no Keywords "
        "and Comments (hcp_baseline of RFC 9788). Filters and archives on the way do not see them then; a gateway that "
        "takes the encryption off puts them back.",
        '"baseline"',
    )
    cipher: CipherName = option(
        CIPHER, "aes256-gcm", "Content encryption, where the peer has none of its own.", '"aes128-gcm"'
    )
    key_transport: KeyTransport = option(
        KEY_TRANSPORT, "oaep", "How RSA encrypts the content key. Other keys are not concerned.", '"pkcs1v15"'
    )
    signature: Signature = option(
        SIGNATURE, "pkcs1", "How RSA signs: PKCS #1 v1.5 or PSS. Other keys are not concerned.", '"pss"'
    )
    digest: DigestName = option(
        DIGEST, "sha256", "The digest that RSA signs. Other keys have one that goes with them.", '"sha512"'
    )
    unknown_attributes: Literal["copy", "drop"] = option(
        COPY_OR_DROP,
        "copy",
        "Unknown signed attributes of a mail list layer that section 5 of RFC 3183 has us sign anew (decisions A-32).",
        '"drop"',
    )
    stripped_labels: Literal["hold", "carry", "drop"] = option(
        STRIPPED_LABELS,
        "hold",
        "When section 5 of RFC 3183 takes off a layer with a security label: hold the mail, drop the label, or carry "
        "it on in an additional attributes signature of our own attribute-authority (decisions A-33).",
        '"carry"',
    )
    on_boundary: HoldOrReject = option(
        HOLD_OR_REJECT,
        "hold",
        "What happens to mail that `[[review]]` or `[[boundary]]` does not let out.",
        '"reject"',
    )
    tell_sender: bool = option(
        BOOLEAN, True, "Whether the sender is told when a person rejects held mail, and why.", "false"
    )
    audit_dca: Literal["none", "own"] = option(
        AUDIT_DCA,
        "none",
        "`own` encrypts to our own domain-confidentiality-authority as well, so that sent mail can be read at home. "
        "Tell your users (decisions A-44).",
        '"own"',
    )
    originator_info: bool = option(
        BOOLEAN,
        True,
        "Names our domain-confidentiality-authority in the originatorInfo of what we encrypt (RFC 3183 4.1, decisions "
        "A-36).",
        "false",
    )
    trust_domain_signature: tuple[str, ...] = option(
        DOMAINS,
        (),
        "Domains whose valid domain signature ends the signing gate's checks of what lies below it (decisions A-28).",
        '["beta.example"]',
    )
    embedded: Literal["ignore", "report", "require"] = option(
        EMBEDDED,
        "report",
        "Parts of a message that are signed or encrypted by themselves, as in mail that is forwarded: whether the "
        "signing gate looks into them. `report` has the audit trail say what was found there; with `require` nothing "
        "is signed unless each could be opened and every signature in it is valid (`gate.embedded`).",
        '"require"',
    )
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """What happens to mail from outside."""

    on_violation: Violation = option(
        VIOLATION,
        "hold",
        "Mail in which something is wrong that RFC 3183 has us flag: a forged or broken signature, say.",
        '"reject"',
    )
    on_unopenable: Violation = option(
        VIOLATION, "hold", "Mail encrypted to our authority that its key does not open.", '"reject"'
    )
    on_unverified: Violation = option(
        VIOLATION,
        "deliver",
        "Mail without any domain or originator signature that counts, and nothing wrong in it.",
        '"hold"',
    )
    decryption_alarm: int = option(
        integer(0, 1_000_000),
        50,
        "How many messages to one of our keys, or from one client, may fail to decrypt within an hour before the log "
        "has an error and `domsec_decryption_alarms_total` goes up: somebody may be trying what the key opens (RFC "
        "2634 section 6). Each worker counts by itself. 0 is never.",
        "20",
    )
    strip: Strip = option(
        STRIP,
        "verified",
        "`verified` takes accepted domain, null, review, attributes and list layers off at the last hop, so that every"
        " mail program can read what is left; the originator's own signature stays. `domain` takes domain and null "
        "layers off only. `none` delivers all layers (decisions A-56, A-63).",
        '"none"',
    )
    after_decrypt: AfterDecrypt = option(
        AFTER_DECRYPT,
        "deliver",
        "What our authority has opened and checked: `deliver` hands it on in clear, to be read by every mail program; "
        "`user` encrypts it again, to the recipient's own certificate from `trust.certificates`, whose path has to lead"
        " to `trust.users`.",
        '"user"',
    )
    on_no_certificate: NoCertificate = option(
        NO_CERTIFICATE,
        "hold",
        'With `after_decrypt = "user"`: what happens for recipients without a usable certificate. `clear` delivers '
        "what was opened as it is.",
        '"clear"',
    )
    harvest: Harvest = option(
        HARVEST,
        "quarantine",
        "What becomes of certificates that accepted mail brings: the one an originator signed with, and the one that "
        "a valid signature names as that to encrypt to, if a path leads from it to an anchor. `quarantine` keeps it in "
        "the store until somebody approves it (`domsec cert approve`). `renewals` also approves one whose issuer "
        "issued an approved certificate of the same address before; `trusted` approves all. `no` keeps none. What is "
        "not approved is never used (docs/certificates.md).",
        '"renewals"',
    )
    subject_tag: str | None = optional(
        TAG,
        "Stands before the Subject of delivered mail for whose sender a signature vouches: the level is not `none`. "
        "What looks like it in the Subject of any mail that arrives is taken out. It is for people's eyes: text can be "
        "imitated, and only `Authentication-Results` is for programs (docs/delivery.md).",
        '"[verified]"',
    )
    banner: Banner = option(
        BANNER,
        "no",
        "A line of text above what is delivered, which says what is known of its origin: with `verified` above mail "
        "for whose sender a signature vouches, with `all` above every mail. Never above what is signed or encrypted: "
        "that is delivered as it is.",
        '"verified"',
    )
    authserv_id: str | None = optional(
        TOKEN,
        "Our name in Authentication-Results (RFC 8601). Fields that bear it on arrival are removed as forged. Without "
        "it the first of `domains` is used.",
        '"mx.acme.example"',
    )
    accept_outer_domain: bool = option(
        BOOLEAN,
        False,
        "Counts a domain signature that covers only ciphertext (decisions A-41). Such a signer cannot be tied to the "
        "text.",
        "true",
    )
    max_age: timedelta | None = optional(
        DURATION,
        "Warns (`replay`) of a signature that was made longer ago, or that the recipient has got before within this "
        "time: who has a signed message can send it again. Mail is lawfully put off and sent twice, so it is no more "
        "than a warning in log and verdict. Without it nothing is remembered.",
        '"7d"',
    )
    transit_domains: tuple[str, ...] = option(
        DOMAINS,
        (),
        "Domains that put their domain signature on other domains' mail as it passes through them. A valid one, "
        "rightly named, is the information `domain.transit` and no violation; nothing is concluded from it.",
        '["carrier.example"]',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """An agreement with another domain. Options that are absent leave it to `[outbound]`, `[inbound]` and `[trust]`.

    Conventions other than those of RFC 3183 hold only where such an entry states them (RFC 3183 3.1.1).
    """

    domain: str = required(DOMAIN, "The domain.", '"beta.example"')
    subdomains: bool = option(
        BOOLEAN,
        True,
        "Whether the entry holds for domains below as well, as far as they have no entry of their own.",
        "false",
    )
    domsec: bool = option(
        BOOLEAN,
        True,
        "The domain has a gateway that reads what RFC 3183 makes. With `false` nothing of the kind is sent there.",
        "false",
    )
    naming: Naming = option(
        NAMING,
        "strict",
        "How its authorities are named: `strict` as RFC 3183 3.1.1 says, `mailbox` by address only, without a role in "
        "the common name, as public CAs issue them, `pinned` by the digests in `pins` (decisions A-14).",
        '"mailbox"',
    )
    pins: tuple[str, ...] = option(
        DIGESTS, (), "For `pinned`: SHA-256 of its authorities' certificates.", '["6f1c..."]'
    )
    anchors: tuple[Path, ...] = option(
        PLACES, (), "Anchors for this domain's authorities, tried before `trust.roles`.", '["beta-ca.pem"]'
    )
    mapping_forms: frozenset[str] = option(
        FORMS,
        MAPPING_FORMS,
        "Name forms of its authorities' certificates that are compared (decisions A-16).",
        '["rfc822"]',
    )
    distinguished_name: bytes | None = optional(
        NAME, "The X.500 name that stands for its originators when names are mapped.", '"O=Beta,C=US"'
    )
    max_ascent: int | None = optional(
        integer(0, 127),
        "How many labels above an originator's domain its authority may stand; 0 is the same domain only.",
        "1",
    )
    lenient_address: bool = option(
        BOOLEAN, False, "Drops white space around the addresses in its authorities' certificates.", "true"
    )
    sign: bool | None = optional(BOOLEAN, "Whether mail to it gets our domain signature.", "true")
    user_signature: UserSignature | None = optional(
        USER_SIGNATURE, "As `outbound.user_signature`, for mail to it. Needs `domsec = false`.", '"required"'
    )
    encrypt: Target | None = optional(TARGET, "As `outbound.encrypt`, for mail to it.", '"dca"')
    cipher: CipherName | None = optional(CIPHER, "Content encryption for mail to it.", '"aes256-cbc"')
    key_transport: KeyTransport | None = optional(KEY_TRANSPORT, "RSA key transport for mail to it.", '"pkcs1v15"')
    signature: Signature | None = optional(SIGNATURE, "RSA signature scheme for mail to it.", '"pss"')
    digest: DigestName | None = optional(DIGEST, "As `outbound.digest`, for mail to it.", '"sha512"')
    wrap_rfc822: bool | None = optional(BOOLEAN, "As `outbound.wrap_rfc822`, for mail to it.", "true")
    header_confidentiality: HeaderConfidentiality | None = optional(
        HEADER_CONFIDENTIALITY, "As `outbound.header_confidentiality`, for mail to it.", '"baseline"'
    )
    clear_unsigned: bool = option(
        BOOLEAN,
        False,
        "The domain signature of mail that nobody signed stands in the clear, without a null layer: readable "
        "everywhere, but not what RFC 3183 3.1.2 says (decisions A-12). What is encrypted to its authority keeps to "
        "the RFC. With `domsec = false`, for people who have no gateway: what its originator has signed goes without "
        "ours, since mail programs show one signature (decisions A-62).",
        "true",
    )
    sigtype_oid: SigtypeOid = option(
        SIGTYPE_OID,
        "id-aa-signatureType",
        "The attribute that says what kind of signature ours is. `id-sti` is what cryptlib reads (decisions A-01).",
        '"id-sti"',
    )
    expect_signed: bool = option(
        BOOLEAN,
        False,
        "Mail from it without a domain signature is a violation; with `domsec = false`, without a valid signature of "
        "its originator.",
        "true",
    )
    expect_encrypted: bool = option(BOOLEAN, False, "Mail from it that is not encrypted is a violation.", "true")
    accept_signature: tuple[SignatureName, ...] = option(
        SIGNATURES,
        (),
        "The only signature algorithms in mail from it; others are a violation. A salt of PSS may be longer than the "
        "digest, and has to have its mask by the same digest. Empty: all that are not weak.",
        '["rsa-pss-sha256", "rsa-pss-sha512"]',
    )
    accept_cipher: tuple[CipherName, ...] = option(
        CIPHERS,
        (),
        "The only content encryption in mail from it, likewise.",
        '["aes256-gcm", "aes128-gcm"]',
    )
    accept_key_transport: tuple[KeyManagement, ...] = option(
        KEY_MANAGEMENT,
        (),
        "The only ways in which a content key may be encrypted in mail from it, whoever it is for: `oaep` with SHA-256 "
        "or longer throughout, `oaep-sha1`, `pkcs1v15`, `ecdh` (X25519 as well), `kem` (ML-KEM). Likewise.",
        '["oaep"]',
    )
    accept_outer_domain: bool = option(BOOLEAN, False, "As `inbound.accept_outer_domain`, for mail from it.", "true")
    revocation: Revocation | None = optional(REVOCATION, "As `trust.revocation`, for its certificates.", '"hard"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Reviews that mail needs before it leaves for some domains (RFC 3183 2.2, 3.4).

    Every entry for a destination holds; each counts for itself. A review is a signature by a review-authority around
    all that leaves. Whose reviews count is written here: no rule of names says so (decisions A-51).
    """

    name: str | None = optional(
        TOKEN,
        "What a `[[rule]]` asks for it by, with `review`. An entry with a name needs no `to`.",
        '"legal"',
    )
    to: tuple[str, ...] = option(
        DESTINATIONS, (), "Destination domains, each with those below it; `*` is every domain but ours.", '["*"]'
    )
    min_reviews: int = option(integer(1, 16), 1, "How many different reviewers must have signed.", "2")
    reviewers: tuple[str, ...] = option(DIGESTS, (), "SHA-256 of the reviewers' certificates.", '["6f1c..."]')
    domains: tuple[str, ...] = option(
        DOMAINS, (), "Every review-authority of these domains, with `issuer`.", '["acme.example"]'
    )
    issuer: bytes | None = optional(NAME, "The name of the CA that issued their certificates.", '"CN=Acme CA"')
    max_age: timedelta | None = optional(DURATION, "How old a review may be, by its signing time.", '"7d"')


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """What is wanted of some mail, by what it is, who sends it and who gets it. For each recipient the first rule whose
    conditions all hold overrides what `[outbound]`, `[inbound]` and `[[peer]]` say, in the options that it names and
    no others.

    What was agreed with a peer about form (cipher, key transport, naming and the like) always holds, and so does every
    `[[review]]` and `[[boundary]]` for a destination. What anybody can write (a `sender` that nobody vouches for,
    `subject_tag`, `header`, size, `label`) never makes less of it than would be done without the rule, unless
    `may_loosen` says so. Examples and all details are in [rules.md](rules.md).
    """

    name: str | None = optional(STRING, "What the log calls it.", '"secure tag"')
    direction: Literal["outbound", "inbound"] = option(DIRECTION, "outbound", "Mail of which direction.", '"inbound"')
    sender: tuple[Mailbox | str, ...] | None = optional(
        WHO,
        "Condition: an address in From or the envelope sender is one of these, or in one of these domains or below.",
        '["partner.example", "ceo@acme.example"]',
    )
    recipient: tuple[Mailbox | str, ...] | None = optional(
        TO_WHOM,
        "Condition: the recipient is one of these addresses, or in one of these domains or below.",
        '["partner.example"]',
    )
    user: tuple[str, ...] | None = optional(
        TEXT_OR_TEXTS,
        "Condition, outbound: the authenticated user, as `[[outbound.evidence]]` or XCLIENT of a trusted client tells: "
        "a login, the name of a local user, or the fingerprint of a certificate. Nothing in the message says so.",
        '["alice", "bob"]',
    )
    subject_tag: tuple[str, ...] | None = optional(
        TEXT_OR_TEXTS,
        "Condition: one of these stands in the Subject, in upper or lower case, encoded or not.",
        '"[secure]"',
    )
    header: tuple[HeaderTest, ...] | None = optional(
        HEADER_TESTS,
        "Condition: there is such a header field with this text in it, in upper or lower case; without a text, "
        "whatever is in it. Of several, each counts by itself.",
        '"Sensitivity: company-confidential"',
    )
    label: tuple[str, ...] | None = optional(
        TEXT_OR_TEXTS,
        "Condition: a valid signature states a security label with all that one of these has, written as for "
        "`domsec sign --label`.",
        '"Food:Luxury"',
    )
    min_size: int | None = optional(integer(1), "Condition: at least so many octets.", "10485760")
    max_size: int | None = optional(integer(1), "Condition: at most so many octets.", "10485760")
    may_loosen: bool = option(
        BOOLEAN,
        False,
        "Lets the rule ask for less than would be done without it, although its conditions rest on what anybody who "
        "sends mail can write.",
        "true",
    )
    sign: SignWish | None = optional(
        SIGN_WISH, "Outbound: as `outbound.sign`, for domains known to read it as there.", '"required"'
    )
    encrypt: EncryptWish | None = optional(
        ENCRYPT_WISH,
        "Outbound: `required` never leaves in clear, whatever `on_no_certificate` says elsewhere; `if-possible` "
        "encrypts to whom a usable certificate is found; `never` does not encrypt.",
        '"required"',
    )
    target: EncryptTarget | None = optional(LIST_TARGET, "Outbound: to whom, as `outbound.encrypt`.", '"dca"')
    strip_tag: bool = option(
        BOOLEAN,
        False,
        "Outbound: takes the `subject_tag` out of the Subject before anything is signed, so that it stands neither "
        "outside nor inside. A Subject that a signature inside covers stays as it is.",
        "true",
    )
    review: tuple[str, ...] | None = optional(
        TEXT_OR_TEXTS, "Outbound: names of `[[review]]` entries that hold for this mail.", '"legal"'
    )
    require_label: bool = option(BOOLEAN, False, "Outbound: mail without a security label does not leave.", "true")
    on_refusal: Refusal | None = optional(REFUSAL, "Outbound: as `outbound.on_refusal`.", '"reject"')
    on_boundary: HoldOrReject | None = optional(HOLD_OR_REJECT, "Outbound: as `outbound.on_boundary`.", '"reject"')
    unknown_domains: UnknownDomains | None = optional(
        UNKNOWN_DOMAINS, "Outbound: as `outbound.unknown_domains`.", '"reject"'
    )
    on_no_certificate: NoCertificate | None = optional(
        NO_CERTIFICATE, "As `outbound.on_no_certificate` or `inbound.on_no_certificate`.", '"reject"'
    )
    on_violation: Violation | None = optional(VIOLATION, "Inbound: as `inbound.on_violation`.", '"reject"')
    on_unopenable: Violation | None = optional(VIOLATION, "Inbound: as `inbound.on_unopenable`.", '"reject"')
    on_unverified: Violation | None = optional(VIOLATION, "Inbound: as `inbound.on_unverified`.", '"hold"')
    strip: Strip | None = optional(STRIP, "Inbound: as `inbound.strip`.", '"none"')
    after_decrypt: AfterDecrypt | None = optional(AFTER_DECRYPT, "Inbound: as `inbound.after_decrypt`.", '"user"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Labels with which mail may leave for some domains. Every entry for a destination holds."""

    to: tuple[str, ...] = required(
        DESTINATIONS, "Destination domains, each with those below it; `*` is every domain but ours.", '["beta.example"]'
    )
    require_label: bool = option(BOOLEAN, False, "Mail without a label does not leave.", "true")
    clearances: tuple[Path, ...] = option(
        FILES,
        (),
        "What people there may see, a file for each security policy, as `labels.clearances`. With any, a label that "
        "they do not cover does not leave.",
        '["beta-clearance.xml"]',
    )
    allowed: tuple[str, ...] = option(
        STRINGS,
        (),
        "The only labels that may leave, written as for `domsec sign --label`. One without classification or "
        "categories stands for all that have what it states.",
        '["Food:Commodity", "1.2.3:1"]',
    )
    forbidden: tuple[str, ...] = option(
        STRINGS, (), "Labels that may not leave, written in the same way.", '["Food:Luxury"]'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """A mail list that `domsec expand --list` serves (RFC 2634 section 4). Its members stand in `members`, in
    `members_file`, or in both.

    How Postfix hands it mail is told in [lists.md](lists.md).
    """

    name: str = required(TOKEN, "What the command calls it.", '"staff"')
    address: Mailbox = required(ADDRESS, "Its mail address.", '"staff@acme.example"')
    owner: Mailbox = required(
        ADDRESS,
        "Who looks after it: the envelope sender of what it sends, so that bounces go there, and told when a message "
        "stops or a member cannot be served.",
        '"staff-owner@acme.example"',
    )
    members: tuple[Mailbox, ...] = option(ADDRESSES, (), "Its members.", '["alice@acme.example"]')
    members_file: Path | None = optional(
        FILE, "File with one member a line; empty lines and those that begin with # are skipped.", '"staff.members"'
    )
    credential: str = required(
        LIST_CREDENTIAL,
        "Private key with certificate and chain, as in `[keys.*]`, for this list alone: it signs, it opens what is "
        "encrypted to the list, and its certificate is what loops are detected by. `keyd:lists` for one that the key "
        "process holds, in whose own configuration the list stands too.",
        '"staff.p12"',
    )
    certificates: tuple[Path, ...] = option(
        PLACE_OR_PLACES,
        (),
        "Certificate and chain, where the credential holds only the key. With `keyd:lists` each certificate here that "
        "is no CA's is one of this list; of those that can sign the newest that is valid does, and all of them open.",
        '"staff.pem"',
    )
    password_file: Path | None = optional(
        FILE, "File with the credential's password in its first line, as in `[keys.*]`.", '"staff.password"'
    )
    previous: tuple[str, ...] = option(
        CREDENTIALS,
        (),
        "Further credentials of the list under the same password: former ones, or one of its own to open with.",
        '["staff-2025.p12"]',
    )
    receipts: ListReceipts = option(
        RECEIPTS,
        "as-asked",
        "What becomes of receipts that a sender asks for: as asked, none at all, or to `receipts_to` instead of, or in "
        "addition to, those the sender named (RFC 2634 4.3).",
        '"none"',
    )
    receipts_to: tuple[Mailbox, ...] = option(
        ADDRESSES, (), "For `instead-of` and `in-addition-to`.", '["staff-owner@acme.example"]'
    )
    encrypt: bool = option(
        BOOLEAN, False, "Encrypts for the members also what came in clear. What came encrypted always is.", "true"
    )
    encrypt_to: EncryptTarget = option(
        LIST_TARGET,
        "auto",
        "Encrypts to the member's own certificate (`recipient`), to the authority of its domain (`dca`), or to both. "
        "`auto` takes the member's own, else the authority. A member for whom none is found is left out.",
        '"dca"',
    )
    cipher: CipherName = option(
        CIPHER,
        "aes256-cbc",
        "Content encryption of what came in clear, where the peer has none of its own.",
        '"aes256-gcm"',
    )
    key_transport: KeyTransport = option(KEY_TRANSPORT, "oaep", "How RSA encrypts the content key.", '"pkcs1v15"')
    grouping: Grouping = option(
        GROUPING,
        "member",
        "Who shares a copy of an encrypted message: each reader of a copy sees for whom else it is. `member` gives "
        "each one of its own, `domain` one to each domain, `all` one to all. What is not encrypted is one for all.",
        '"all"',
    )
    next_hop: Endpoint | None = optional(ENDPOINT, "Where `--send` gives copies to.", '"smtp:127.0.0.1:10030"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Who may say in the words of other security policies what a label means (RFC 2634 3.4, decisions A-50).

    Equivalent labels of others are reported and not used. A signer is named by the certificate, or by its domain and
    issuer together.
    """

    signers: tuple[str, ...] = option(DIGESTS, (), "SHA-256 of the translators' certificates.", '["6f1c..."]')
    domains: tuple[str, ...] = option(
        DOMAINS, (), "Every attribute-authority, or other signer, of these domains, with `issuer`.", '["beta.example"]'
    )
    issuer: bytes | None = optional(NAME, "The name of the CA that issued their certificates.", '"CN=Beta CA"')
    into: tuple[str, ...] = option(
        OIDS, (), "The policies that they may translate to. Empty is every policy of `labels.policies`.", '["1.2.3.4"]'
    )
    out_of: tuple[str, ...] = option(
        OIDS, (), "The policies whose labels they may translate. Empty is any, or no label at all.", '["1.2.3.5"]'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Security labels (RFC 2634 3), and what our security policies make of them.

    Without `policies` labels are reported, and nothing depends on them. With some, a label of another policy, or one
    that its policy does not allow, is a violation.
    """

    policies: tuple[Path, ...] = option(
        FILES, (), "Security policies that we know, as Open XML SPIF: names, rules and markings.", '["food.spif.xml"]'
    )
    clearances: tuple[Path, ...] = option(
        FILES,
        (),
        "What our own people may see, a file for each policy: a Clearance in DER (RFC 5755 4.4.6) or the XML of "
        "Spiffing. With any, a message whose label they do not cover is a violation.",
        '["acme-clearance.xml"]',
    )
    translators: tuple[Translator, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where held messages, the audit trail and certificates of others are kept. Never on a network file system."""

    url: str = option(
        STORE_URL,
        "sqlite:////var/lib/domsec/domsec.db",
        "Database. SQLite needs nothing else; PostgreSQL (`postgresql://`) needs `pip install 'domsec[postgresql]'` "
        "and serves several machines. A password of PostgreSQL belongs into ~/.pgpass, not into this file.",
        '"sqlite:////var/lib/domsec/domsec.db"',
    )
    audit: Path | None = optional(
        NEW_FILE,
        "File for the audit trail, one JSON object a line. Without it the trail is kept in the database.",
        '"/var/log/domsec/audit.jsonl"',
    )
    audit_fsync: bool = option(
        BOOLEAN,
        True,
        "Waits until a record is on the disk before the signature it grants is made. Concerns the file; the database "
        "always does.",
        "false",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """Review and administration pages. Read and checked, but not served by this version."""

    listen: TcpAddress | None = optional(TCP_ADDRESS, "Where the pages are served.", '"127.0.0.1:8443"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What commands do for somebody on the road. The gateway does not read it."""

    home_domain: str | None = optional(
        DOMAIN,
        "The domain to whose confidentiality authority `domsec encrypt` encrypts where no `--to` is given (RFC 3183 "
        "section 4).",
        '"acme.example"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Mail for whoever looks after the gateway: errors of the log, and how many messages wait for a decision.

    A notice is one mail with all that has come up since the last one, and nothing of any message in it.
    """

    to: Mailbox | None = optional(
        ADDRESS, "Who gets it, by `next_hop.inbound`, without that by `next_hop.outbound`.", '"postmaster@acme.example"'
    )
    every: timedelta = option(
        DURATION,
        timedelta(hours=1),
        "The shortest time between two notices, of all gateways that share a store.",
        '"15m"',
        written='"1h"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log goes to standard error: one line a message, without content."""

    level: Literal["debug", "info", "warning", "error"] = option(
        LEVEL, "info", "The least severe lines to write.", '"warning"'
    )
    format: Literal["json", "text"] = option(FORMAT, "json", "JSON for machines, text for people.", '"text"')


LIMIT_DOCUMENTATION: Mapping[str, str] = {
    "depth": "Security layers, one inside the other.",
    "mime_depth": "Multiparts, one inside the other.",
    "mime_parts": "Parts of all multiparts of a message.",
    "embedded": "Parts protected by themselves that are judged, those inside them counted; others are named only.",
    "header_fields": "Header fields of a message.",
    "header_size": "Octets of a header.",
    "size": "Octets of a message as it arrives.",
    "expanded": "Octets that decompression may yield, of all layers of a message together.",
    "ratio": "How many times its input decompression may yield.",
    "der_depth": "ASN.1 values, one inside the other.",
    "der_values": "ASN.1 values read in one structure.",
    "certificates": "Certificates in one layer.",
    "certificate_size": "Octets of a certificate.",
    "crls": "Revocation lists in one layer.",
    "signers": "Signers of one layer.",
    "attributes": "Attributes of one signer.",
    "attributes_size": "Octets of one signer's attributes.",
    "recipients": "Recipients of one encryption layer.",
    "rsa_bits": "Bits of an RSA key that is computed with.",
    "rsa_exponent_bits": "Bits of the public exponent of an RSA key that a signature is checked with.",
    "certificate_candidates": "Certificates tried for one signer.",
    "recipient_candidates": "Recipients of an encryption layer that are tried with our keys.",
    "path_length": "Certificates of one path, the anchor included.",
    "path_tries": "Signatures checked while looking for a path.",
    "path_candidates": "Complete paths judged for one certificate.",
    "answer_size": "Octets that a directory sends for one question.",
    "answer_certificates": "Certificates in the answer of a directory to one question.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the file: a table, or tables that repeat."""

    name: str
    declaration: type
    documentation: str
    repeats: bool = False

    @property
    def header(self) -> str:
        return f"[[{self.name}]]" if self.repeats else f"[{self.name}]"


def options(declaration: type) -> Iterator[Option]:
    """The options of a section, in the order of their declaration."""
    if declaration is Limits:
        for limit in dataclasses.fields(Limits):
            yield Option(
                limit.name, integer(1), str(limit.default), LIMIT_DOCUMENTATION.get(limit.name, ""), str(limit.default)
            )
        return
    for declared in dataclasses.fields(declaration):
        if "option" in declared.metadata:
            kind, documentation, example, default = declared.metadata["option"]
            yield Option(declared.name, kind, default, documentation, example)


def _section(name: str, declaration: type, documentation: str = "", *, repeats: bool = False) -> Section:
    return Section(name, declaration, documentation or inspect.cleandoc(declaration.__doc__ or ""), repeats)


_ROLE = (
    "The key of our {}. {} One certificate serves one role only (RFC 3183 3.1.1), and so does one key (decisions A-45)."
)

SECTIONS: tuple[Section, ...] = (
    _section("", General),
    _section("listen", Listen),
    _section("next_hop", NextHop),
    _section("gateway", GatewayOptions),
    _section("keys.signing", Key, _ROLE.format("domain-signing-authority", "It makes our domain signatures.")),
    _section(
        "keys.confidentiality",
        ConfidentialityKey,
        _ROLE.format("domain-confidentiality-authority", "Others encrypt to it."),
    ),
    _section("keys.review", Key, _ROLE.format("review-authority", "It makes review signatures.")),
    _section("keys.attributes", Key, _ROLE.format("attribute-authority", "It makes additional attributes signatures.")),
    _section("keyd", Keyd),
    _section("users", UserKeys),
    _section("trust", Trust),
    _section("revocation", Fresh),
    _section("directory", DirectoryOptions, repeats=True),
    _section("outbound", Outbound),
    _section("outbound.evidence", Evidence, repeats=True),
    _section("inbound", Inbound),
    _section("peer", PeerOptions, repeats=True),
    _section("rule", RuleOptions, repeats=True),
    _section("labels", Labels),
    _section("labels.translator", Translator, repeats=True),
    _section("review", Review, repeats=True),
    _section("boundary", Boundary, repeats=True),
    _section("list", ListOptions, repeats=True),
    _section("store", Store),
    _section("web", Web),
    _section("client", Client),
    _section(
        "limits", Limits, "What one message may ask of us, at most. A message beyond is held or refused, never passed."
    ),
    _section("notices", Notices),
    _section("log", Log),
)
