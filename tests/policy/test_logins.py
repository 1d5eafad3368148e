"""Tables of logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.policy.evidence import Rights
from domsec.policy.logins import load_logins


def test_a_table_is_read_as_postfix_reads_it(tmp_path: Path) -> None:
    (tmp_path / "logins").write_text(
        "# comment\n\nalice\talice@acme.example, sales@Acme.example\n"
        "  # comment between\n  @lists.acme.example\nBOB bob@acme.example\n"
    )
    assert load_logins(tmp_path / "logins") == {
        "alice": Rights(frozenset({"alice@acme.example", "sales@acme.example"}), frozenset({"lists.acme.example"})),
        "bob": Rights(frozenset({"bob@acme.example"})),
    }


def test_each_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text("alice\nbob bob@acme.example\ncarol not-an-address\ndave @-bad-\n")
    with pytest.raises(ConfigurationError) as caught:
        load_logins(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "3", "4"]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"logins: cannot be read"):
        load_logins(tmp_path / "logins")
