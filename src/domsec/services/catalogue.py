"""Every flag that a verdict can bear, with its clause: the only place where codes are declared.

A code is a stable identifier: people filter on it. `docs/verdicts.md` and `domsec verify --explain` are made from these
texts. A text is what a person reads after "it means:", "what passes:", "how it comes about:", "what to do:".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How bad. A violation is what RFC 3183 says MUST be flagged, and what a safe verifier must not accept."""

    INFO = "info"
    WARNING = "warning"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of the catalogue. `would_pass` is empty for what is only worth knowing."""

    severity: Severity
    clause: str
    meaning: str
    would_pass: str
    arises: str  # how a message comes to bear it
    remedy: str  # what an administrator does; empty where there is nothing to do


@dataclass(frozen=True, slots=True)
class Family:
    """Codes about the same thing, with a sentence on what that is."""

    title: str
    about: str
    codes: Mapping[str, Code]


def _violation(clause: str, meaning: str, would_pass: str, arises: str, remedy: str) -> Code:
    return Code(Severity.VIOLATION, clause, meaning, would_pass, arises, remedy)


def _warning(clause: str, meaning: str, would_pass: str, arises: str, remedy: str) -> Code:
    return Code(Severity.WARNING, clause, meaning, would_pass, arises, remedy)


def _info(clause: str, meaning: str, arises: str, remedy: str) -> Code:
    return Code(Severity.INFO, clause, meaning, "", arises, remedy)


_NAMING = "RFC 3183 3.1.1"
_ONE_CN = "exactly one CN, equal to the role name"
_LINT = "the domain gets a certificate with the right name; `domsec cert lint` says for which role one can serve"
_OWN_OR_AGREED = f"{_LINT}; or both domains agree on another convention, in a `[[peer]]` entry (`naming`)"
_THEIRS = "their administrator has it repaired; `domsec show` says what is in the message"
_NOTHING = ""

FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "The name of an authority",
        "RFC 3183 knows an authority by the name in its certificate: `domain-signing-authority`, `review-authority`, "
        "`attribute-authority`, `domain-confidentiality-authority`, in the common name and before the @ of every "
        "address. A signature gets its role only with that name.",
        {
            "naming.cn": _violation(
                _NAMING,
                "the common name is not the role name",
                _ONE_CN,
                "the certificate is of a public CA, which may put nothing but the address there, or was issued for the "
                "gateway's host name, or the key of another role signed",
                _OWN_OR_AGREED,
            ),
            "naming.cn_missing": _violation(
                _NAMING,
                "the subject has no common name",
                _ONE_CN,
                "a public CA issued the certificate: those may not put a role name into CN",
                _OWN_OR_AGREED,
            ),
            "naming.cn_multiple": _violation(
                _NAMING,
                "the subject has several common names",
                _ONE_CN,
                "a CA added a CN of its own, perhaps in the same RDN",
                _LINT,
            ),
            "naming.rfc822_local": _violation(
                _NAMING,
                "an address of the certificate is not the role's",
                "role-name@domain only",
                "the address of a person, or of a second role, is in the same certificate",
                _LINT,
            ),
            "naming.lookalike": _violation(
                _NAMING,
                "a name only looks like the role name",
                "the role name in ASCII letters",
                "a Cyrillic or full-width letter, an invisible character, a space or another hyphen in it: by a slip "
                "of a CA, or because somebody tries to pass for an authority",
                "find out who issued it, before you trust that CA for roles any longer",
            ),
            "naming.x400": _violation(
                "RFC 3854 4.3",
                "an X.400 address of the certificate is not the role's",
                "one that names nobody, or the role as common name or surname",
                "a certificate for an authority and for a person at once",
                _LINT,
            ),
            "naming.no_address": _violation(
                _NAMING,
                "the agreed convention wants an address",
                "role-name@domain",
                '`naming = "mailbox"` was agreed, and the certificate has only a directory name',
                "agree on `pinned` instead, or get a certificate with the address",
            ),
            "naming.not_pinned": _violation(
                _NAMING,
                "not the certificate agreed for the domain",
                "a pinned certificate",
                "the domain has a new certificate, or somebody else signed",
                "ask them by another way than mail, then change `pins` in the `[[peer]]` entry",
            ),
            "naming.convention": _info(
                _NAMING,
                "an agreed local naming convention was applied",
                "the `[[peer]]` entry of the domain says `naming`, or `clear_unsigned`",
                _NOTHING,
            ),
            "address.invalid": _violation(
                _NAMING,
                "an address of an authority has no usable domain",
                "a mailbox with a proper domain",
                "a blank at the end, an empty label, or a domain that IDNA does not allow",
                f"{_LINT}; for blanks around it there is `lenient_address`",
            ),
        },
    ),
    Family(
        "The name mapping rule",
        "An authority speaks for its own domain and those below, for nobody else. Each form of its name is compared "
        "with every mailbox in From: addresses, domain components, directory names.",
        {
            "mapping.mismatch": _violation(
                _NAMING,
                "the authority's domain does not cover the originator",
                "a domain equal to, or above, that of every From address",
                "mail of another domain was forwarded or sent through this one, From was forged, or one of the "
                "certificate's names is of another organization",
                "if it is a partner's mistake, they sign with the authority of the From domain; where only a directory "
                "name contradicts, both may agree on `mapping_forms`",
            ),
            "mapping.not_comparable": _violation(
                _NAMING,
                "no name of the authority can be compared",
                "an address",
                "the authority's certificate has a directory name only, and nothing says which one the sender has",
                "the authority gets a certificate with an address, or the `[[peer]]` entry a `distinguished_name`",
            ),
            "mapping.no_mail_form": _violation(
                _NAMING,
                "only an unproven directory name connects authority and originator",
                "an authority address in the domain of the From address",
                "the directory name agrees with that of the sender's certificate, which itself proves nothing: anybody "
                "can make one with any name",
                "as for mapping.not_comparable",
            ),
            "mapping.too_general": _violation(
                "decisions A-19",
                "the authority speaks for a public suffix",
                "at least two labels, and no public suffix",
                "the certificate is for a top-level domain, for one under which anybody can register, or names only a "
                "country",
                "do not trust the CA that issued it for roles",
            ),
        },
    ),
    Family(
        "The signature type",
        "A signed attribute says what a signature is for: originator, domain, review, additional attributes. Where it "
        "is broken the signature has no role at all.",
        {
            "sigtype.multiple": _violation(
                "RFC 3183 3.1.2",
                "several signature type attributes",
                "at most one attribute",
                "a program wrote the attribute under both object identifiers it goes by",
                _THEIRS,
            ),
            "sigtype.syntax": _violation(
                "RFC 3183 3.1.2",
                "the signature type cannot be read",
                "SEQUENCE OF OBJECT IDENTIFIER",
                "the attribute is empty, or holds something else than a sequence of object identifiers",
                _THEIRS,
            ),
            "sigtype.inconsistent": _violation(
                "RFC 3183 3.1.2",
                "the signers of a layer state different types",
                "the same types from each signer",
                "two keys signed the same layer, and one did not say what for",
                _THEIRS,
            ),
            "sigtype.addattr_not_alone": _violation(
                "RFC 3183 3.3",
                "additional attributes stands beside another type",
                "alone",
                "a program made one signature of two, as cryptlib allows",
                "they make two layers, one inside the other",
            ),
            "sigtype.multi_value": _warning(
                "RFC 3183 3.1.2",
                "the signature type has several values",
                "one value",
                "a program wrote a value for each type, instead of one with all",
                _THEIRS,
            ),
            "sigtype.repeated": _warning(
                "RFC 3183 3.1.2", "a signature type is repeated", "each once", "a slip of the signing program", _THEIRS
            ),
            "sigtype.unsigned": _warning(
                "RFC 3183 3.1.2",
                "an unsigned signature type is ignored",
                "a signed one",
                "somebody on the way added the attribute where no signature covers it",
                "look at it with `domsec show`: who gains if the signature counts as something else",
            ),
            "sigtype.legacy_oid": _info(
                "RFC 3183 3.1.2",
                "the attribute is identified by id-sti",
                "cryptlib and programs made with it write it so, since RFC 3183 forgot to name the attribute",
                'if they read nothing else either: `sigtype_oid = "id-sti"` in their `[[peer]]` entry',
            ),
            "sigtype.unknown": _info(
                "RFC 3183 3.1.2",
                "a type value that is not known",
                "a later draft, or a private extension; it gives no role",
                _NOTHING,
            ),
        },
    ),
    Family(
        "What a signature encloses",
        "Domain, review and additional attributes signatures enclose another signature; around what nobody signed the "
        "empty one stands between. And a signature around ciphertext is not one over the text.",
        {
            "encapsulation.missing": _violation(
                "RFC 3183 3.1.2",
                "a DOMSEC signature with nothing signed inside",
                "a signature, or the empty one, below it",
                "a gateway signed the bare message",
                "their gateway puts the empty signature between; where mail programs have to read it, both may agree "
                "on `clear_unsigned`",
            ),
            "encapsulation.unknown": _info(
                "RFC 3183 3.1.2",
                "what lies below is closed here",
                "the signature is around an encryption that our keys do not open",
                _NOTHING,
            ),
            "null.uncovered": _violation(
                "RFC 3183 3",
                "an empty signature that no DOMSEC signature encloses",
                "a DOMSEC signature directly around it",
                "the domain signature was taken off and the empty one left, or somebody hopes that no bad signature "
                "looks like a good one",
                "treat the message as unsigned; whoever takes off domain signatures takes the empty one off too",
            ),
            "null.econtenttype": _violation(
                "RFC 3183 3",
                "an empty signature over something else than id-data",
                "id-data",
                "a program without signers for a content type of its own",
                _THEIRS,
            ),
            "null.detached": _violation(
                "RFC 3183 3",
                "an empty signature without its content",
                "the content inside",
                "multipart/signed with a signature part in which nobody signs",
                _THEIRS,
            ),
            "null.redundant": _warning(
                "RFC 3183 3",
                "an empty signature around something signed",
                "the domain signature directly around what is signed",
                "a gateway did not see that there was a signature, or two gateways did the same",
                _THEIRS,
            ),
            "coverage.ciphertext_only": _violation(
                "RFC 8551 3.7",
                "the domain signature covers only ciphertext",
                "a signature inside the encryption",
                "the domain signed what was encrypted already: anybody can put a signature around the ciphertext of "
                "others",
                "they sign before they encrypt (RFC 3183 section 4); for a partner who cannot: `accept_outer_domain`",
            ),
            "coverage.unknown": _warning(
                "RFC 8551 3.7",
                "encryption below the domain signature is closed here",
                "the recipient's key, to look inside",
                "the sender encrypted to the recipient, then the domain signed: only the recipient sees whether the "
                "author's signature is inside",
                _NOTHING,
            ),
        },
    ),
    Family(
        "Encryption",
        "Encryption says nothing of who sent a message: anybody can encrypt to a public key (RFC 3183 section 6).",
        {
            "enc.unsigned": _warning(
                "RFC 3183 6",
                "encrypted, and not signed",
                "a domain signature inside",
                "a person encrypted to our authority without signing, or somebody passes for a partner; a violation "
                "where the `[[peer]]` entry says `expect_signed`",
                "ask partners with a gateway to sign, and set `expect_signed`",
            ),
            "enc.unauthenticated": _warning(
                "RFC 8551 2.7",
                "the cipher does not authenticate",
                "AES-GCM or a signature",
                "encrypted with CBC and not signed: whoever had it on the way can have changed the text (EFAIL)",
                "such mail is never handed out opened; the sender signs, or encrypts with AES-GCM",
            ),
            "enc.missing": _violation(
                "threats T-11",
                "the domain encrypts all its mail, but not this",
                "the message encrypted",
                "`expect_encrypted` was agreed, and the message came by another way than the partner's gateway",
                "ask the partner whether all their mail passes the gateway",
            ),
            "enc.outdated": _violation(
                "RFC 8551 B.3",
                "a cipher that keeps no secrets any more",
                "AES",
                "triple DES, in old programs and old mail; it stays closed but in archives (`--archive`), and is never "
                "accepted",
                _THEIRS,
            ),
            "enc_agent.mapping": _violation(
                "RFC 3183 4.1",
                "the encrypting authority does not cover the originator",
                "originatorInfo with an authority of the From domain",
                "the gateway of another domain encrypted it: a relay, a provider, or somebody who forged From",
                "their provider encrypts with a certificate of their domain, or leaves originatorInfo out",
            ),
            "enc_agent.unknown": _info(
                "RFC 3183 4.1",
                "the encrypting authority does not say who it is",
                "a person encrypted, or a gateway without originatorInfo",
                _NOTHING,
            ),
        },
    ),
    Family(
        "Who wrote it",
        "A verdict speaks of the mailboxes in the one From field, for that is what people see.",
        {
            "from.invalid": _violation(
                "RFC 5322 3.6.2",
                "there is no single usable From field",
                "one From field with mailboxes",
                "From is missing, stands twice, or cannot be read without doubt",
                "have the sending program repaired",
            ),
            "header.mismatch": _violation(
                "RFC 7508 4.5.2",
                "a header field differs from the one that was signed",
                "every field as it was when it was signed",
                "the signer signed header fields (a signed attribute has them), and somebody on the way changed one, "
                "as lists change the subject",
                "go by the value that was signed; `domsec show` has it",
            ),
            "from.outer_inner_differ": _violation(
                "RFC 9788 4",
                "the protected From differs from the outer one",
                "the same mailboxes inside and outside",
                "a list or a forwarder wrote its own address into From, or somebody put an old message into a new "
                "envelope",
                "a list that rewrites From cannot keep its members' signatures; let it stop",
            ),
            "header.outer_inner_differ": _warning(
                "RFC 9788 4",
                "a protected header field differs from the one outside",
                "the same inside and outside, or outside what the sender left there",
                "a list changed the subject, a program on the way wrote a field anew, or somebody put an old message "
                "into a new envelope",
                "go by the value inside, which is the protected one",
            ),
            "sender.mismatch": _warning(
                "RFC 5322 3.6.2",
                "whoever else says to have sent it lies outside the domain of the authority",
                "Sender, Resent-From and Resent-Sender in the domain",
                "an assistant or a service elsewhere sent it for the one in From",
                _NOTHING,
            ),
            "inner.invalid": _warning(
                "RFC 3183 3.2",
                "the originator's signature does not hold",
                "a valid originator signature",
                "a list or a scanner changed the text before the domain signed; the domain vouches for what it signed",
                "their gateway should have refused to sign: tell them",
            ),
        },
    ),
    Family(
        "Whether a signature holds",
        "Mathematics, certificate and path. Of a DOMSEC signature everything has to hold, the trust in its issuer too.",
        {
            "signature.invalid": _violation(
                "RFC 5652 5.6",
                "the signature does not hold",
                "a valid signature and path",
                "the text was changed, the certificate has expired or was revoked, or nobody here trusts its issuer",
                "the reason stands with the flag; for a partner's CA: `trust.roles`, or `anchors` in its `[[peer]]` "
                "entry",
            ),
            "replay": _warning(
                "RFC 5652 11.3",
                "the signature was made longer ago than `inbound.max_age`, or was delivered before",
                "a signing time within `inbound.max_age`, and a message that comes for the first time",
                "mail was put off for long, was sent twice or came by a list as well; or somebody sends an old message "
                "again",
                "look whether the text is still meant; the gateway remembers a signature for `inbound.max_age`",
            ),
            "domain.transit": _info(
                "RFC 3183 3.2",
                "a domain signature that was put on along the way, of a domain that does so with others' mail",
                "the domain is one of `inbound.transit_domains`; who sent the message is for other signatures to say",
                _NOTHING,
            ),
            "domain.missing": _violation(
                "threats T-11",
                "the domain signs all its mail, but not validly this",
                "a valid domain signature",
                "`expect_signed` was agreed, and the message came by another way than the partner's gateway",
                "ask the partner whether all their mail passes the gateway; else it is forged",
            ),
            "originator.missing": _violation(
                "threats T-11",
                "the people of the domain sign all their mail, but not validly this",
                "a valid signature of its originator",
                "`expect_signed` was agreed with a domain that has no gateway, and somebody else wrote this, or took "
                "the signature off",
                "ask the partner; else it is forged",
            ),
            "alg.weak": _violation(
                "RFC 8551 2.2",
                "an algorithm or key that no longer proves anything",
                "SHA-256 or better, RSA of 2048 bits or more, ECDSA, Ed25519",
                "SHA-1, MD5, or a short RSA key, in old programs and old mail",
                _THEIRS,
            ),
            "alg.not_agreed": _violation(
                "decisions A-46",
                "an algorithm other than was agreed with the domain",
                "one that the `[[peer]]` entry lists",
                "the partner's program was changed or set up anew, or somebody else made the message",
                "ask the partner; `accept_signature`, `accept_cipher` and `accept_key_transport` say what was agreed",
            ),
            "alg.unsupported_sibling": _info(
                "RFC 4853 3",
                "another SignerInfo of the signer is not supported",
                "the signer signed with two algorithms, and the one known here is valid",
                _NOTHING,
            ),
            "countersignature.invalid": _info(
                "RFC 5652 11.4",
                "a signature over a signature does not hold",
                "anybody can add one on the way, so nothing is concluded from it, good or bad",
                _NOTHING,
            ),
            "multisig.removed": _violation(
                "RFC 5752",
                "a signature that this one names was removed",
                "all siblings",
                "somebody on the way took off the stronger of two signatures",
                "do not believe it; ask for the message again",
            ),
            "multisig.added": _warning(
                "RFC 5752 4.6",
                "the signer has more signatures than this one names",
                "all of them named",
                "somebody signed again with the same key's certificate, without telling the first signature",
                _THEIRS,
            ),
            "alg.invalid_sibling": _warning(
                "RFC 4853",
                "another signature of the signer does not hold",
                "all of them valid",
                "one of a signer's two algorithms is outdated, or one of the signatures was damaged; only the valid "
                "one counts",
                _THEIRS,
            ),
            "signing_time.future": _warning(
                "RFC 5652 11.3",
                "signed more than a day from now",
                "a time that has been",
                "the signer's clock is wrong, or ours",
                "set the clock",
            ),
            "attrs.not_der": _violation(
                "RFC 5652 5.3",
                "the signed attributes are not DER",
                "DER",
                "an authority's program sorts its attributes wrongly, or encodes them otherwise",
                _THEIRS,
            ),
            "attrs.order": _warning(
                "RFC 5652 5.4",
                "signed attributes signed in the order sent, not in DER",
                "DER order",
                "some people's mail programs sort their attributes wrongly",
                _NOTHING,
            ),
            "attrs.cardinality": _violation(
                "RFC 5652 11",
                "an attribute is missing, doubled, or has several values",
                "each once, with one value",
                "content type or message digest is not there exactly once",
                _THEIRS,
            ),
            "attrs.confusion": _violation(
                "RFC 5652 5.4",
                "the content is a set of signed attributes",
                "a message",
                "the attributes of a real signature are shown as if they were the message: an attack, no accident",
                "do not believe it",
            ),
            "attrs.absent": _violation(
                "RFC 8551 2.5",
                "a signature without signed attributes",
                "signed attributes",
                "a simple program of a person; an authority's signature without them cannot state its type",
                _THEIRS,
            ),
        },
    ),
    Family(
        "Labels, lists and other attributes",
        "Security labels, receipt requests and the marks of mail lists (RFC 2634) count from valid signatures only, "
        "and only in their place.",
        {
            "label.conflict": _violation(
                "RFC 2634 3",
                "labels differ",
                "the same label in each SignerInfo",
                "the signers of a layer do not agree how secret the message is",
                _THEIRS,
            ),
            "label.unknown_policy": _violation(
                "RFC 2634 3",
                "a label nobody here can judge",
                "a known security policy",
                "a label that cannot be read, or where label policies are configured one of another policy",
                "the policy goes into `labels.policies`, or an equivalent label comes from who may translate",
            ),
            "label.invalid": _violation(
                "RFC 2634 3.3",
                "a label that its security policy does not allow",
                "a classification and categories that the policy has and lets stand together",
                "the policies on both sides differ, or a label was made to slip past a clearance",
                "compare the policy files; the sender labels the message anew",
            ),
            "label.denied": _violation(
                "RFC 2634 3.1",
                "our clearance does not cover the label",
                "a label within `labels.clearances`",
                "the message is not for this domain, or a clearance is missing",
                "a person who may see it decides",
            ),
            "ess.placement": _warning(
                "RFC 2634 1.3.4",
                "an attribute stands where it may not, and is not used",
                "its place",
                "a receipt request outside, an expansion history inside, or one of them unsigned",
                _THEIRS,
            ),
            "ess.cardinality": _warning(
                "RFC 2634 1.3.4",
                "an attribute stands too often, and is not used",
                "once, with one value",
                "a program added an attribute that was there already",
                _THEIRS,
            ),
            "mlh.conflict": _violation(
                "RFC 2634 4",
                "the expansion history of a mail list cannot be used",
                "one history, the same from each signer",
                "the signers state different histories, or one that cannot be read",
                "the administrator of the list has it repaired",
            ),
            "mlh.overflow": _violation(
                "RFC 2634 4",
                "the expansion history is full",
                "at most 64 entries",
                "lists that are members of each other send the message round",
                "the administrators of the lists break the circle",
            ),
        },
    ),
    Family(
        "MIME",
        "Where another reader could see another message than the one that was verified, it is not verified.",
        {
            "mime.signature_has_content": _violation(
                "RFC 8551 3.5.3.1",
                "a detached signature with a content of its own",
                "a signature part with nothing but the signature in it",
                "one text to be verified and another to be read: an attack on careless mail programs",
                "do not believe it",
            ),
            "mime.parts": _violation(
                "RFC 1847",
                "multipart/signed does not have two parts",
                "two parts",
                "a list or a scanner added a part, or the boundary is broken",
                "whoever changes signed mail puts it into an outer multipart instead",
            ),
            "mime.duplicate_header": _violation(
                "threats T-24",
                "Content-Type or Content-Transfer-Encoding stands twice",
                "once",
                "a program added a field that was there; readers differ about which counts",
                _THEIRS,
            ),
            "mime.content_type": _violation(
                "RFC 2045 5",
                "Content-Type cannot be read",
                "a well-formed one",
                "a broken field",
                _THEIRS,
            ),
            "mime.duplicate_parameter": _violation(
                "threats T-24",
                "a parameter of Content-Type stands twice",
                "once",
                "two boundaries or two types in one field; readers differ about which counts",
                _THEIRS,
            ),
            "mime.transfer_encoding": _violation(
                "RFC 2045 6",
                "a transfer encoding that cannot be undone",
                "base64, quoted-printable or none",
                "an unknown name, an encoded multipart, or octets that are not what they are said to be",
                _THEIRS,
            ),
            "mime.malformed": _violation(
                "RFC 2045",
                "a security layer's MIME cannot be read",
                "well-formed MIME",
                "a header inside a layer that no reader would agree on",
                _THEIRS,
            ),
            "mime.outside_text": _warning(
                "RFC 1847",
                "text outside the parts is ignored",
                "nothing before and behind the parts",
                "text before or behind the parts of multipart/signed, which nobody signed and some programs show",
                _NOTHING,
            ),
            "mime.smime_type": _warning(
                "RFC 8551 3.2",
                "smime-type does not fit the structure",
                "the fitting one",
                "a slip of the program that made it; what counts is the structure",
                _NOTHING,
            ),
            "mime.base64": _warning(
                "RFC 2045 6.8",
                "base64 with something else in between",
                "clean base64",
                "damage on the way, or a program that wraps lines in its own manner",
                _NOTHING,
            ),
            "mime.boundary": _warning(
                "RFC 2046 5.1.1",
                "a line that is almost a boundary",
                "no such line",
                "a text that quotes one, or somebody who wants readers to differ about where parts begin",
                _NOTHING,
            ),
            "mime.bad_field": _warning(
                "RFC 5322 2.2",
                "a line in the header that is no field",
                "fields only",
                "a broken program; some readers end the header there, some skip the line",
                _NOTHING,
            ),
            "mime.embedded": _info(
                "RFC 8551 6",
                "parts inside the content are protected by themselves: judged apart, they count for nothing here",
                "a signed message was forwarded, or a list added its footer beside it",
                _NOTHING,
            ),
        },
    ),
    Family(
        "CMS",
        "The structures of RFC 5652 inside the layers.",
        {
            "cms.malformed": _violation(
                "RFC 5652",
                "a security layer's CMS cannot be read",
                "well-formed CMS",
                "damage on the way, or octets made to break a reader",
                "if it is damage, have it sent again",
            ),
            "x400.malformed": _violation(
                "RFC 3854 3",
                "an X.400 content cannot be read",
                "a content that is what its type says",
                "damage on the way, or octets made to break a reader",
                "if it is damage, have it sent again",
            ),
            "cms.no_content": _violation(
                "RFC 5652 5",
                "signers, but nothing signed",
                "content",
                "a detached signature that lost its text",
                _THEIRS,
            ),
            "cms.unsupported": _warning(
                "RFC 5652",
                "a content type that is not handled",
                "a handled one",
                "authenticated or digested data, or a type of some other program",
                _NOTHING,
            ),
            "cms.trailing": _warning(
                "RFC 5652",
                "octets after the structure",
                "nothing behind it",
                "a program that pads, or damage on the way",
                _NOTHING,
            ),
            "cms.digest_algorithms": _warning(
                "RFC 5652 5.1",
                "the list of digests does not fit the signers",
                "the digests used",
                "somebody added or removed a signer without mending the list",
                _NOTHING,
            ),
        },
    ),
    Family(
        "Limits",
        "What one message may ask of us is bounded (`[limits]` in the configuration). The code ends with the name of "
        "the limit.",
        {
            "limit.*": _violation(
                "decisions A-57",
                "a limit was hit",
                "less of it",
                "somebody tries how much work a message can make; rarely, a message that really is so large",
                "if it was honest mail, raise that one limit",
            ),
        },
    ),
)

CODES: Final[Mapping[str, Code]] = {code: entry for family in FAMILIES for code, entry in family.codes.items()}


def entry(code: str) -> Code:
    """The entry of a code; the codes of all limits share one. Raises KeyError for what is no code."""
    return CODES["limit.*"] if code.startswith("limit.") else CODES[code]
