"""Every reply this gateway gives (RFC 5321 4.2, RFC 3463; measurements-mail.md A7).

One table, by name. A reply that refuses ends with its name in brackets, and `docs/replies.md` explains each name. No
reply says why a decryption or a verification failed (R5321-4.2-01), and none is permanent because of a fault of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from domsec.errors import ConfigurationError, KeyUnusable, StoreUnavailable

TEXT_LIMIT = 400  # octets of another server's words that we repeat
ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\Z")
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `enhanced` is empty where RFC 2034 has none (greeting, 354, HELO)."""

    code: int
    enhanced: str
    text: str
    name: str = ""

    def encode(self) -> bytes:
        return f"{self}\r\n".encode("ascii", "replace")

    def __str__(self) -> str:
        """As a client sees it, and as it stands in logs."""
        named = f"[{self.name}]" if self.name and self.code >= 400 else ""
        return " ".join(part for part in (str(self.code), self.enhanced, self.text, named) if part)

    @property
    def positive(self) -> bool:
        return self.code < 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500


TABLE = (
    # name, code, enhanced, text
    ("ok", 250, "2.0.0", "ok"),
    ("sender_ok", 250, "2.1.0", "sender ok"),
    ("recipient_ok", 250, "2.1.5", "recipient ok"),
    ("discarded", 250, "2.0.0", "ok"),
    ("marked", 250, "2.0.0", "judged and marked"),
    ("cannot_verify", 252, "2.5.0", "send some mail, it will be tried"),
    ("tls_ready", 220, "2.0.0", "ready to start TLS"),
    ("closing", 221, "2.0.0", "closing"),
    ("start_data", 354, "", "end with <CR><LF>.<CR><LF>"),
    # the connection
    ("stopping", 421, "4.3.2", "service is stopping, try again"),
    ("connections", 421, "4.3.2", "too many connections, try again later"),
    ("idle", 421, "4.4.2", "nothing was received for too long"),
    ("errors", 421, "4.7.0", "too many errors"),
    ("client", 554, "5.7.1", "this client may not send here"),
    ("pipelining", 554, "5.5.0", "commands were sent before a reply had to be waited for"),
    # commands
    ("line_length", 500, "5.5.2", "command line is too long"),
    ("characters", 500, "5.5.2", "command line has characters that are not allowed"),
    ("line_end", 500, "5.5.2", "command line does not end with <CR><LF>"),
    ("command", 500, "5.5.1", "command is not known"),
    ("not_here", 502, "5.5.1", "command is not offered"),
    ("sequence", 503, "5.5.1", "command is out of sequence"),
    ("no_recipients", 503, "5.5.1", "no valid recipients"),
    ("syntax", 501, "5.5.4", "syntax of the command is wrong"),
    ("tls_first", 530, "5.7.0", "STARTTLS has to come first"),
    ("parameter_value", 501, "5.5.4", "parameter has a wrong value"),
    ("parameter", 555, "5.5.4", "parameter is not known or not offered"),
    ("attributes", 501, "5.5.4", "attributes are not well-formed"),
    ("not_trusted", 550, "5.7.0", "this client may not use this command"),
    ("sender_syntax", 553, "5.1.7", "sender address is not well-formed"),
    ("recipient_syntax", 553, "5.1.3", "recipient address is not well-formed"),
    ("utf8", 553, "5.6.7", "address needs SMTPUTF8"),
    ("recipients", 452, "4.5.3", "too many recipients in one transaction"),
    ("memory", 452, "4.3.1", "too much mail at once, try again later"),
    ("room", 452, "4.3.1", "no room to keep the message, try again later"),
    ("size", 552, "5.3.4", "message is larger than this gateway takes"),
    ("header", 552, "5.3.4", "header of the message is larger than this gateway reads"),
    # content
    ("bare_newline", 550, "5.6.0", "message has a CR or LF that is not part of a CRLF"),
    ("nul", 550, "5.6.0", "message has a NUL octet"),
    ("loop", 554, "5.4.6", "message has been through this gateway before"),
    ("hops", 554, "5.4.6", "message has too many Received fields"),
    # our side
    ("internal", 451, "4.3.0", "error in this gateway, message was not touched"),
    ("store", 451, "4.3.0", "a directory, database or key store does not answer"),
    ("configuration", 451, "4.3.5", "this gateway cannot do its work as it is configured"),
    # next hop
    ("next_hop_down", 451, "4.4.1", "next hop does not answer"),
    ("next_hop_lost", 451, "4.4.2", "connection to the next hop was lost"),
    ("next_hop_timeout", 451, "4.4.2", "next hop did not answer in time"),
    ("next_hop_protocol", 451, "4.4.0", "next hop gave a reply that was not expected"),
    ("next_hop_tls", 451, "4.7.5", "next hop does not offer the TLS that is asked of it"),
    ("next_hop_utf8", 550, "5.6.7", "next hop does not offer SMTPUTF8, which this message needs"),
    ("next_hop_8bit", 550, "5.6.3", "next hop does not offer 8BITMIME, which this message needs"),
    ("next_hop_size", 552, "5.3.4", "message as protected is larger than the next hop takes"),
    ("not_sent", 451, "4.4.0", "not sent because another recipient of the same transaction was refused"),
)

REPLIES = {name: Reply(code, enhanced, text, name) for name, code, enhanced, text in TABLE}

# Codes of a next hop that speak of the session or of our commands, not of this mail: trying again may help.
_ABOUT_US = frozenset({500, 502, 503, 530, 534, 535, 538})


def clean(text: str) -> str:
    """Text in which nothing can end a line or a log entry: printable ASCII, bounded."""
    return _NOT_SHOWN.sub("?", text)[:TEXT_LIMIT].strip()


def for_error(error: BaseException) -> Reply:
    """The reply for an exception. Never permanent: what can be refused for good is refused by a decision."""
    if isinstance(error, StoreUnavailable):
        return REPLIES["store"]
    if isinstance(error, KeyUnusable | ConfigurationError):
        return REPLIES["configuration"]
    return REPLIES["internal"]


def refusal(code: int, enhanced: str, text: str) -> Reply:
    """The reply for a decision that refuses. Raises ValueError unless both codes say 4 or both say 5."""
    match = ENHANCED.match(enhanced)
    if not 400 <= code <= 599 or not match or match[1] != str(code)[0]:
        raise ValueError(f"{code} {enhanced} does not refuse")
    return Reply(code, enhanced, clean(text))


def delivered(next_hop: Reply, identifier: str) -> Reply:
    """The reply after the next hop's 250."""
    return Reply(250, "2.0.0", f"{clean(next_hop.text) or 'ok'} [domsec {identifier}]")


def held(hold: str, identifier: str) -> Reply:
    return Reply(250, "2.0.0", f"held as {clean(hold)} [domsec {identifier}]")


def passed_on(next_hop: Reply) -> Reply:
    """Our reply for a refusal by the next hop: 4xx becomes 451, 5xx stays what it is; the words are its own."""
    if next_hop.name:
        return next_hop  # made by us, on its behalf
    text = f"next hop said: {next_hop.code} {clean(next_hop.text)}".rstrip()
    if next_hop.permanent and next_hop.code not in _ABOUT_US:
        enhanced = next_hop.enhanced if next_hop.enhanced.startswith("5") else "5.0.0"
        return Reply(next_hop.code, enhanced, text, "next_hop")
    enhanced = next_hop.enhanced if next_hop.enhanced.startswith("4") else "4.4.0"
    return Reply(451, enhanced, text, "next_hop")
