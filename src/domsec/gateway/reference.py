"""`docs/replies.md`: what each reply and each reason for holding means, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from domsec.gateway.replies import TABLE

# reasons of decisions, as they stand in replies, in the log and with held messages
DECISIONS: Final[dict[str, tuple[str, str]]] = {
    "gate.from": (
        "the From field is missing, doubled, or names no usable mailbox",
        "have the sending program repaired",
    ),
    "gate.not_our_domain": (
        "From is not in a domain our signing certificate covers",
        "forwarded mail of others is not ours to sign; else look at the certificate with `domsec cert lint`",
    ),
    "gate.authority": (
        "our own signing certificate is not fit to sign for the domain: its name, its usage or its dates",
        "`domsec config check` says what is wrong",
    ),
    "gate.undecryptable": (
        "part of the message is encrypted to somebody else, so nobody could check it",
        "the sender encrypts to our authority as well, or not at all",
    ),
    "gate.invalid_signature": (
        "a signature in the message does not hold: broken, expired, revoked, or of an unknown issuer",
        "`domsec verify --explain` names the layer and the reason; perhaps an anchor is missing in `trust.users`",
    ),
    "gate.naming": ("an authority's certificate in the message breaks the naming convention", "as above"),
    "gate.mapping": ("a domain signature in the message is by an authority of another domain", "as above"),
    "gate.malformed": ("a layer of the message cannot be read, or contradicts itself", "as above"),
    "gate.embedded": (
        "a part of the message is signed or encrypted by itself, and `outbound.embedded` requires that it holds",
        "`domsec verify` names the part and the reason; it is sent without that part",
    ),
    "gate.originator": (
        "nothing shows that the mailbox in From sent this",
        "`no_evidence` in the log says of each `[[outbound.evidence]]` why it gave nothing; the user logs in, or the "
        "rules get one for this path",
    ),
    "gate.originator_conflict": (
        "the message is signed by somebody else than From names",
        "the sender uses the From address of the certificate",
    ),
    "gate.user": (
        "mail to the destination is signed in the name of who wrote it, and no key of theirs is held",
        "get the user's key into `users.folder`; `domsec config check` says what is wrong with those that are there",
    ),
    "gate.review": (
        "the message may not leave before it was reviewed (`[[review]]`)",
        "a review-authority looks at it: `domsec hold approve`, or `domsec review` before it is sent",
    ),
    "gate.label": (
        "the message may not leave with this label, or without one (`[[boundary]]`)",
        "`domsec boundary FILE --to DOMAIN` says why; the sender labels it rightly, or it goes elsewhere",
    ),
    "review.missing": ("fewer reviews than asked for, by those who may review", "as for gate.review"),
    "review.not_allowed": (
        "said by `domsec hold approve`: a review by somebody whom `[[review]]` does not name",
        "somebody else reviews it, or the entry gets their certificate",
    ),
    "review.repeated": ("said by `domsec hold approve`: one reviewer counts once", "another reviewer looks at it"),
    "refused": (
        "held mail was approved, and policy refuses it by now",
        "the reply beside it says why; approve it again after a change, or reject it",
    ),
    "label.missing": ("there is no label", "the sender labels the message: `domsec sign --label`"),
    "label.unverified": ("a label in a layer whose signature does not hold", "`domsec verify --explain`"),
    "label.unknown_policy": ("a label of a policy that is not known here", "the policy goes into `labels.policies`"),
    "label.invalid": ("a label that its policy does not allow", "the sender labels the message anew"),
    "label.denied": ("people at the destination are not cleared for the label", "it goes elsewhere, or not"),
    "label.not_allowed": ("the label is none of `boundary.allowed`", "as above"),
    "label.forbidden": ("the label is one of `boundary.forbidden`", "as above"),
    "inner_env.unreadable": (
        "an encryption lies inside, so the result must be encrypted again, and there is no certificate for that",
        "get the recipient's or its authority's certificate into `trust.certificates`",
    ),
    "no_certificate": (
        "policy wants encryption and no usable certificate was found",
        "`domsec locate ADDRESS` says which were looked at and why each was passed over",
    ),
    "stripped_label": (
        "section 5 would take off a layer with a security label (`outbound.stripped_labels`)",
        "the sender puts the label into the inner signature, or our attribute-authority carries it on (`carry`)",
    ),
    "directory": (
        "a directory of `[[directory]]` that may have a certificate did not answer, or not with what can be used; "
        "the reply is 451 4.4.3, and the mail comes again",
        "`domsec locate ADDRESS --explain` asks it and says what it answers; a `[[peer]]` entry with a certificate in "
        "`trust.certificates` needs no directory",
    ),
    "dnssec": (
        "DNS has a certificate that is not what the domain signed; the reply is 451 4.7.5, and the mail comes again",
        "`domsec locate ADDRESS --explain` shows whether it is still so; somebody tampers with DNS on its way to you, "
        "or the domain's zone is broken, which its postmaster should know",
    ),
    "unknown_domain": ("the domain is not known to read protected mail", "a `[[peer]]` entry, or `unknown_domains`"),
    "malformed": ("the header of the message cannot be read, or a limit was hit", "have the sending program repaired"),
    "recipient": ("the recipient's address is not one", "correct it"),
    "policy": (
        "inbound mail was refused as configured; outsiders are not told why",
        "the log line with the reference has structure, level and flags",
    ),
    "unopenable": (
        "mail encrypted to our authority that its keys do not open",
        "an older key may be missing in `keys.confidentiality.previous`",
    ),
    "unverified": ("no signature that counts, and `inbound.on_unverified` is not `deliver`", ""),
    "enc.unauthenticated": (
        "decrypted with a cipher that proves nothing, and nobody signed it",
        "the sender signs, or uses AES-GCM",
    ),
    "delivery": ("the next hop took only some recipients over SMTP; the others are delivered later", "nothing"),
}

# what to do about the replies of `TABLE`, and about those of the next hop
REMEDIES: Final[dict[str, str]] = {
    "stopping": "nothing: the gateway is being stopped or started, and the mail comes again",
    "connections": "`domsec_connections` in `/metrics`; let the client open fewer "
    "(`domsec_destination_concurrency_limit` in Postfix), or run more workers (`listen.workers`)",
    "idle": "nothing; if it comes often, look at the network, or at a client that hangs",
    "errors": "look at what the client sends: it is none that speaks SMTP, or is being tried out by somebody",
    "client": "by TCP only this machine may send: its address belongs into `listen.trusted_clients`, if its XFORWARD "
    "and XCLIENT are to be believed as well",
    "pipelining": "the client sends on where SMTP has it wait: have it repaired, or an intruder kept out",
    "line_length": "have the client repaired",
    "characters": "have the client repaired",
    "line_end": "have the client repaired: two servers that do not agree about the end of a line can be made to see "
    "two messages in one",
    "command": "nothing where a client tries what it does not need; LMTP listeners know LHLO, SMTP listeners EHLO: "
    "compare `listen` with what the client speaks",
    "not_here": "nothing; AUTH and CHUNKING are the mail server's, STARTTLS needs `listen.tls`",
    "sequence": "have the client repaired",
    "no_recipients": "nothing: each recipient was refused, with a reply of its own",
    "syntax": "have the client repaired",
    "tls_first": "let the client use STARTTLS, or set `listen.require_tls = false`",
    "parameter_value": "have the client repaired",
    "parameter": "have the client repaired: it uses what was not offered ([smtp.md](smtp.md))",
    "attributes": "have the client repaired",
    "not_trusted": "its address belongs into `listen.trusted_clients`, if it may speak for others",
    "sender_syntax": "have the sending program repaired",
    "recipient_syntax": "correct the address",
    "utf8": "have the client repaired: it sends UTF-8 in an address without saying SMTPUTF8",
    "recipients": "nothing: the client sends the others in another transaction; `limits.recipients`",
    "memory": "nothing, if it is seldom: the mail comes again; else fewer connections at a time, or more memory and "
    "workers ([memory.md](memory.md))",
    "room": "make room on the disk of `$TMPDIR` ([operations.md](operations.md))",
    "size": "`limits.size`, and then the limits of the mail servers around ([postfix.md](postfix.md), Sizes)",
    "header": "`limits.header_size` and `limits.header_fields`",
    "bare_newline": "have the sending program repaired; Postfix takes them out with `smtpd_forbid_bare_newline = "
    "normalize` ([postfix.md](postfix.md))",
    "nul": "have the sending program repaired: no mail may have it (RFC 5321 4.5.2)",
    "loop": "find out which server sends back what it was given: its routes have no way out for this domain "
    "([postfix.md](postfix.md), Topology)",
    "hops": "find out between which servers the message goes round",
    "internal": "a fault of ours: the traceback is in the log at this time; please report it",
    "store": "`/readyz` and the log say which of them; the mail comes again ([operations.md](operations.md))",
    "configuration": "the line before it in the log says what; `domsec config check` as well",
    "next_hop_down": "start the next hop, or correct `next_hop`",
    "next_hop_lost": "look at the next hop's log at this time",
    "next_hop_timeout": "look at what the next hop waits for: a filter, a disk",
    "next_hop_protocol": "look whether it is a mail server that stands at `next_hop`",
    "next_hop_tls": "the log says what was wrong; `next_hop.tls` and `next_hop.ca`",
    "next_hop_utf8": "the mail server behind has to offer it (`smtputf8_enable`)",
    "next_hop_8bit": "the mail server behind has to offer it; nothing is converted, since that would break signatures",
    "next_hop_size": "what was protected is larger than what was sent: the limits behind domsec have to be larger "
    "([postfix.md](postfix.md), Sizes)",
    "not_sent": "nothing: the other recipient's reply says what was wrong, and the mail comes again",
    "next_hop": "look at the next hop's log for its own words",
}


def replies_markdown() -> str:
    """The whole page."""
    lines = [
        "# Replies",
        "",
        "Written by `make docs`; not by hand. A reply that refuses ends with its name in brackets; so does the log.",
        "",
        "## Decisions about a message",
        "",
        "Replies are 550 5.7.1, for inbound mail 550 5.7.7 whatever was wrong. Held messages bear the same names; "
        "flag codes of a verdict can stand there as well, which `domsec verify --explain` explains.",
        "",
        "| name | meaning | what to do |",
        "|---|---|---|",
        *(f"| {name} | {meaning} | {remedy} |" for name, (meaning, remedy) in DECISIONS.items()),
        "",
        "## Replies of the protocol",
        "",
        "4xx: the mail stays with the client, which sends it again. 5xx: the client tells the sender.",
        "",
        "| name | reply | text | what to do |",
        "|---|---|---|---|",
        *(
            f"| {name} | {code} {enhanced} | {text} | {REMEDIES[name]} |"
            for name, code, enhanced, text in TABLE
            if code >= 400
        ),
        f"| next_hop | 5xx as it was, else 451 | next hop said: and then its words | {REMEDIES['next_hop']} |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs") / "replies.md"
    page.write_text(replies_markdown())
    print(page, file=sys.stderr)
