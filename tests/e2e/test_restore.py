"""A machine is lost, and the whole installation is put back from what `domsec backup` saved while mail was flowing."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from e2e.domsec_process import Domsec
from e2e.installation import Installation, installation
from e2e.mail_queue import MailQueue
from e2e.world import wait_until, write_pem

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def domsec(*arguments: object) -> str:
    done = subprocess.run([Domsec.program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_held_mail_certificates_trail_and_keys_are_there_again_on_a_new_machine(tmp_path: Path):
    with installation() as ours:
        partner = _certificate_only_in_the_store(ours)
        ours.start()
        domsec("cert", "import", partner, "--config", ours.gateway.configuration)
        held = [ours.letter("reviewed", number) for number in (1, 2)]
        assert all("held as" in ours.send(each).text for each in held)
        sealed = ours.letter("sealed")
        assert ours.send(sealed).code == 250
        waiting, trail = ours.held("held"), _trail(ours)

        saved = _saved_while_mail_flows(ours, tmp_path)
        _lose_everything(ours)
        for each in saved:
            domsec("restore", each)

        ours.keyd.start()
        ours.gateway.start()
        assert ours.held("held")[: len(waiting)] == waiting
        assert partner_is_known(ours)
        assert _trail(ours)[: len(trail)] == trail
        for identifier in waiting:
            approved = ours.hold("approve", identifier, "--credential", ours.reviewer)
            assert approved.returncode == 0, approved.stderr
        wait_until(lambda: all(len(ours.copies(each)) == 1 for each in held), "what was held")
        again = ours.letter("sealed", 2)
        assert ours.send(again).code == 250
        judge = ours.judge(ours.beta)
        for letter in (sealed, again, *held):
            [content] = ours.copies(letter)
            verdict = judge(content)
            assert (verdict.accepted, verdict.domain) == (True, "acme.example")
        incoming = ours.letter("inbound")
        assert ours.send(incoming).code == 250
        assert incoming.marker in ours.copies(incoming)[0]


def _certificate_only_in_the_store(ours: Installation) -> Path:
    """Beta's authority, to whom we encrypt, is taken out of the files."""
    file = ours.gateway.configuration.parent / "partners" / "confidentiality.pem"
    file.unlink()
    partner = ours.folder / "partner.pem"
    write_pem(partner, ours.beta.confidentiality)
    return partner


def partner_is_known(ours: Installation) -> bool:
    listed = domsec("cert", "list", "--config", ours.gateway.configuration, "--json")
    return ours.beta.confidentiality.certificate.sha256 in listed


def _trail(ours: Installation) -> list[str]:
    assert ours.audit is not None
    return ours.audit.read_text().splitlines()


def _saved_while_mail_flows(ours: Installation, folder: Path) -> list[Path]:
    """Of the gateway, and of its key process, which has a configuration and no store."""
    mail = MailQueue(random.Random(1), 4)
    mail.put((ours.letter("sealed", 1000 + number) for number in range(200)), 4)
    gateway, keyd = folder / "gateway.tar", folder / "keyd.tar"
    try:
        domsec("backup", "--config", ours.gateway.configuration, "-o", gateway)
        domsec("backup", "--config", ours.keyd.configuration, "--without-store", "-o", keyd)
        wait_until(lambda: mail.open == 0, "the mail")
    finally:
        mail.close()
    assert all(letter.end is not None and letter.end.code == 250 for letter in mail.all)
    return [gateway, keyd]


def _lose_everything(ours: Installation) -> None:
    ours.gateway.kill()
    ours.keyd.stop(signal.SIGKILL)
    for folder in (ours.gateway.configuration.parent, ours.folder / "var"):
        shutil.rmtree(folder)
    for found in ours.keyd.folder.iterdir():
        shutil.rmtree(found) if found.is_dir() else found.unlink()
