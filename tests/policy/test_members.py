"""Who is on a mail list."""

from __future__ import annotations

from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.mime.addresses import parse_address
from domsec.policy.members import load_members, members_of
from domsec.policy.options import ListOptions


def options(*members: str, file: Path | None = None) -> ListOptions:
    return ListOptions(
        name="staff",
        address=parse_address("staff@acme.example"),
        owner=parse_address("owner@acme.example"),
        credential="staff.pem",
        members=tuple(map(parse_address, members)),
        members_file=file,
    )


def test_each_member_is_there_once_as_first_written(tmp_path: Path) -> None:
    file = tmp_path / "members"
    file.write_text("# people\n\nBOB@beta.example\n  carol@gamma.example  \nAlice@Acme.example\n")
    found = members_of(options("alice@acme.example", "bob@beta.example", file=file))
    assert [m.address for m in found] == ["alice@acme.example", "bob@beta.example", "carol@gamma.example"]
    assert members_of(options("alice@acme.example")) == (parse_address("alice@acme.example"),)


def test_each_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "members"
    file.write_text("alice\nbob@beta.example\nCarol <carol@gamma.example>\n")
    with pytest.raises(ConfigurationError) as caught:
        load_members(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "3"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"members: cannot be read"):
        load_members(tmp_path / "members")
    (tmp_path / "members").write_bytes(b"\xff@x")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_members(tmp_path / "members")
