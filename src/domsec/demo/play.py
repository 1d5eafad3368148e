"""Sends the messages of the demonstration and compares what becomes of each with what should."""

from __future__ import annotations

import signal
import smtplib
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from domsec.demo import scene as scenes
from domsec.demo import stage
from domsec.demo.scene import ACME, BETA, Scene
from domsec.mime import fields
from domsec.mime.canonical import canonical
from domsec.policy.configuration import Configuration
from domsec.services.check import verify
from domsec.services.layers import null_layer, peel
from domsec.services.sign import Signer, clear, opaque
from domsec.services.signature_type import SignatureType
from domsec.services.verdict import Verdict
from domsec.site import Site, load_site
from domsec.trust.names import escaped

WAIT: Final = 20.0  # seconds for a message to pass both gateways

Fate = Literal["delivered", "refused"]

_SIGNED: Final = "03-signed-by-alice.eml"  # signed when the play begins: alice's certificate is made then
_FORGED: Final = "90-forged.eml"


@dataclass(frozen=True, slots=True)
class Expected:
    """What should become of a message: at the mailbox its structure and the level its domain vouches for."""

    fate: Fate
    wire: str | None = "E(S[domain](S0(OC)))"  # None: whatever the reader's own mail gives
    level: str = "domain"
    delivered: str = "OC"


_EXPECTED: Final = {
    "01-plain.eml": Expected("delivered"),
    "02-attachment.eml": Expected("delivered"),
    _SIGNED: Expected("delivered", "E(S[domain](S[originator](OC)))", "originator_direct", "S[originator](OC)"),
    _FORGED: Expected("refused"),
}


class _Hops:
    """What was seen of the message under way."""

    def __init__(self, scene: Scene) -> None:
        self.beta: Site = load_site(Configuration.load(scene.configuration(BETA)))
        self.wire: Verdict | None = None
        self.arrived: bytes | None = None
        self.at_mailbox: Verdict | None = None
        self._arrival = threading.Event()

    def begin(self) -> None:
        self.wire = self.arrived = self.at_mailbox = None
        self._arrival.clear()

    def watch(self, hop: str, octets: bytes) -> None:
        context = self.beta.context(datetime.now(UTC))
        if hop == "wire":
            closed = peel(octets, (), context.limits)
            self.wire = verify(peel(octets, context.keyring, context.limits), context)
            _say(f"  on the wire, as anybody sees it: {verify(closed, context).structure}; with beta's key:")
            _tree(self.wire, judged=True)
        else:
            self.arrived = octets
            self.at_mailbox = verify(peel(octets, (), context.limits), context)
            _say("  in bob's mailbox:")
            _tree(self.at_mailbox)
            self._arrival.set()

    def look(self, octets: bytes) -> Verdict:
        """What a message is, for those who have no key."""
        context = self.beta.context(datetime.now(UTC))
        return verify(peel(octets, (), context.limits), context)

    def wait(self) -> bool:
        return self._arrival.wait(WAIT)


def main(*, once: bool, mail: Path | None = None) -> int:
    """Run the demonstration; 0 if every message met its fate. Without `once` it stays until it is interrupted."""
    with tempfile.TemporaryDirectory(prefix="domsec-demo-") as folder:
        scene = scenes.build(Path(folder), datetime.now(UTC))
        hops = _Hops(scene)
        _say("domsec demo: acme.example and beta.example, each with its own CA, keys, store and gateway, on loopback")
        with stage.running(scene, hops.watch):
            wrong = [name for name, octets in _messages(mail) if not _send(name, octets, scene, hops)]
            if wrong:
                _say(f"\nNOT as expected: {', '.join(wrong)}")
            else:
                _say("\nEvery message met the fate it should.")
            if not once:
                _stay(scene)
    return 1 if wrong else 0


def _messages(mail: Path | None) -> list[tuple[str, bytes]]:
    """The messages to send: those shipped, or the reader's own and the forged one."""
    shipped = resources.files("domsec.demo") / "messages"
    found = [(item.name, item.read_bytes()) for item in shipped.iterdir() if item.name.endswith(".eml")]
    if mail is not None:
        own = sorted(mail.iterdir()) if mail.is_dir() else [mail]
        mails = [(path.name, _as_alice(path.read_bytes())) for path in own if path.is_file()]
        found = mails + [f for f in found if f[0] == _FORGED]
    return sorted(found)


def _as_alice(octets: bytes) -> bytes:
    """The reader's mail with From and To of the demonstration, which signs for nobody else."""
    header, body = fields.split_message(canonical(octets))
    named = [fields.new_field("From", f"Alice Example <alice@{ACME}>"), fields.new_field("To", f"bob@{BETA}")]
    return bytes(fields.join_message(header.without(("from", "sender", "to", "cc", "bcc")).prepend(*named), body))


def _send(name: str, octets: bytes, scene: Scene, hops: _Hops) -> bool:
    """Send one message and see it through. Says what happened and whether that is what should."""
    expected = _EXPECTED.get(name, Expected("delivered", wire=None))
    hops.begin()
    _say(f"\n{name}: {_subject(octets)}")
    forged = name == _FORGED
    if name == _SIGNED:
        octets = _signed(octets, scene)
    if forged:
        octets = _forged(octets, scene)
    port = scene.ports.wire if forged else scene.ports.acme_outbound
    _say(f"  submitted to {'beta by a stranger' if forged else 'acme by alice'}, {len(octets)} octets:")
    _tree(hops.look(octets))
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=WAIT) as client:
            client.sendmail(f"alice@{ACME}", [f"bob@{BETA}"], octets)
    except smtplib.SMTPResponseException as refusal:
        return _refused(refusal.smtp_code, refusal.smtp_error, expected)
    except smtplib.SMTPRecipientsRefused as refusal:
        code, text = next(iter(refusal.recipients.values()))
        return _refused(code, text, expected)
    if not hops.wait() or hops.arrived is None or hops.at_mailbox is None:
        _say("  LOST: it was accepted, and did not arrive")
        return False
    return _delivered(hops, expected)


def _refused(code: int, text: bytes | str, expected: Expected) -> bool:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    right = expected.fate == "refused" and code >= 500
    _say(f"  refused with {code} {words}  ->  {'as it should be' if right else 'WRONG, it should be delivered'}")
    return right


def _delivered(hops: _Hops, expected: Expected) -> bool:
    assert hops.arrived is not None
    assert hops.at_mailbox is not None
    header, _ = fields.split_message(hops.arrived)
    result = header.first("authentication-results")
    said = " ".join(result.value.split()) if result else "nothing"
    _say(f"  Authentication-Results: {said}")
    if hops.wire is None:
        _say("  WRONG: it did not pass the wire")
        return False
    problems = []
    if expected.fate != "delivered":
        problems.append("it should have been refused")
    if expected.wire is not None and hops.wire.structure != expected.wire:
        problems.append(f"on the wire {hops.wire.structure}, expected {expected.wire}")
    level = expected.level if expected.wire is not None else hops.wire.level
    if not hops.wire.accepted or hops.wire.level != level or hops.wire.domain != ACME:
        problems.append(f"judged {hops.wire.level} by {hops.wire.domain}, expected {level} by {ACME}")
    if expected.wire is not None and hops.at_mailbox.structure != expected.delivered:
        problems.append(f"delivered {hops.at_mailbox.structure}, expected {expected.delivered}")
    if "smime=pass" not in said or f"policy.domsec={level}" not in said:
        problems.append("the result is not reported")
    _say(f"  ->  {'WRONG: ' + '; '.join(problems) if problems else 'readable, verified and reported'}")
    return not problems


def _signed(octets: bytes, scene: Scene) -> bytes:
    """As Alice's mail program would sign it."""
    entity = clear(fields.entity_of(octets), Signer(scene.alice).signing(None), datetime.now(UTC))
    return bytes(fields.replace_entity(fields.split_message(octets)[0], entity))


def _forged(octets: bytes, scene: Scene) -> bytes:
    """With a domain signature of somebody whom only he himself calls the authority of acme.example."""
    inner = null_layer(fields.entity_of(octets))
    entity = opaque(inner, Signer(scene.forger).signing(SignatureType.DOMAIN), datetime.now(UTC))
    return bytes(fields.replace_entity(fields.split_message(octets)[0], entity))


def _subject(octets: bytes) -> str:
    header, _ = fields.split_message(octets)
    field = header.first("subject")
    if field is None:
        return "without a subject"
    try:
        return escaped(" ".join(str(make_header(decode_header(field.value))).split()))
    except (ValueError, LookupError, HeaderParseError):
        return escaped(" ".join(field.value.split()))


def _tree(verdict: Verdict, *, judged: bool = False) -> None:
    """The layers, outermost first, each a step further in, and what was concluded from them."""
    for depth, layer in enumerate(verdict.layers):
        what = "+".join(layer.roles)
        detail: list[str] = [layer.state or ""]
        if layer.encryption is not None:
            detail = [layer.encryption.cipher, "opened" if layer.encryption.opened else "closed"]
        detail += [escaped(s.subject or "unknown signer") for s in layer.signers]
        shown = ", ".join(d for d in (what, *detail) if d and d != layer.kind)
        _say(f"      {'  ' * depth}{layer.kind}{': ' if shown else ''}{shown}")
    if not judged:
        return
    flags = ", ".join(f.code for f in verdict.flags) or "none"
    accepted = "accepted" if verdict.accepted else "not accepted"
    _say(f"      {verdict.structure}  ->  {accepted}: {verdict.level} {verdict.domain or ''}, flags: {flags}")


def _stay(scene: Scene) -> None:
    _say(f"\nStatus pages: http://127.0.0.1:{scene.ports.acme_status}/metrics (acme)")
    _say(f"              http://127.0.0.1:{scene.ports.beta_status}/metrics (beta)")
    _say(f"Bob's mailbox: {scene.maildir}")
    _say("Send one more:")
    _say(
        f"  swaks --server 127.0.0.1:{scene.ports.acme_outbound} --from alice@{ACME} --to bob@{BETA} "
        "--header 'Subject: one more'"
    )
    _say("Interrupt (Ctrl-C) to stop.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
