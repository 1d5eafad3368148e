"""Tables of logins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.policy.evidence import Rights
from domsec.policy.logins import load_logins, load_owners


def test_a_table_is_read_as_postfix_reads_it(tmp_path: Path) -> None:
    (tmp_path / "logins").write_text(
        "# comment\n\n   \nalice\talice@acme.example, sales@Acme.example\n"
        "  # comment between\n  @lists.acme.example\nBOB bob@acme.example,\n"
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


def test_a_table_of_owners_is_that_of_smtpd_sender_login_maps(tmp_path: Path) -> None:
    (tmp_path / "senders").write_text("Alice@Acme.example\tal, SEC@acme.example\n  bob\n@acme.example postmaster\n")
    assert load_owners(tmp_path / "senders") == {
        "alice@acme.example": {"al", "sec@acme.example", "bob"},
        "@acme.example": {"postmaster"},
    }


def test_each_wrong_line_about_an_owner_is_named(tmp_path: Path) -> None:
    file = tmp_path / "senders"
    file.write_text("alice al\n@-bad- al\na@acme.example\nb@acme.example al\nB@acme.example bob\n")
    with pytest.raises(ConfigurationError) as caught:
        load_owners(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "2", "3", "5"]


@pytest.mark.parametrize("load", [load_logins, load_owners])
def test_a_table_in_another_character_set_is_named(tmp_path: Path, load: Callable[[Path], object]) -> None:
    (tmp_path / "table").write_bytes("jürgen juergen@acme.example\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"table: not UTF-8"):
        load(tmp_path / "table")


@pytest.mark.parametrize("load", [load_logins, load_owners])
def test_a_missing_table_is_named(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"table: cannot be read"):
        load(tmp_path / "table")
