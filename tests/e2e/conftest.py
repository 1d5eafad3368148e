"""The world of the end-to-end tests: made once for a run, on the one worker that has the group `e2e`."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from e2e import postfix, world
from e2e.world import World


@pytest.fixture(scope="session")
def mail() -> Iterator[World]:
    """Two domains behind Postfix; skips where Postfix cannot be started."""
    reason = postfix.missing()
    if reason:
        pytest.skip(reason)
    with world.world() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what is in the queues and what the servers said last."""
    report = yield
    made = getattr(item, "funcargs", {})
    if report.failed:
        mail, alone = made.get("mail"), made.get("lists") or made.get("office")
        for instance in (*(mail.instances if mail else ()), *((alone.instance,) if alone else ())):
            log = "\n".join(instance.log.splitlines()[-12:])
            report.sections.append((f"postfix {instance.folder}", f"{instance.waiting_for()}\n{log}"))
        for gateway in mail.gateways if mail else ():
            log = "\n".join(line[:1000] for line in gateway.log.read_text(errors="replace").splitlines()[-6:])
            report.sections.append((f"domsec {gateway.configuration}", log))
    return report
