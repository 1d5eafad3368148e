"""domsec.gateway.replies: the table and what is made of others' replies."""

from __future__ import annotations

import pytest

from domsec.errors import (
    CertificateNotFound,
    ConfigurationError,
    DecryptionFailed,
    KeyUnusable,
    MalformedMessage,
    StoreUnavailable,
)
from domsec.gateway.replies import REPLIES, Reply, delivered, for_error, held, passed_on, refusal


def test_every_reply_is_one_line_whose_codes_agree() -> None:
    for reply in REPLIES.values():
        line = reply.encode()
        assert line.endswith(b"\r\n")
        assert line.count(b"\r") == line.count(b"\n") == 1
        assert len(line) <= 512
        assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
        assert reply.positive or line.endswith(f"[{reply.name}]\r\n".encode())


@pytest.mark.requirement("R5321-4.2-01")
@pytest.mark.parametrize(
    ("error", "code"),
    [(StoreUnavailable("ldap"), "451 4.3.0"), (KeyUnusable("x"), "451 4.3.5"), (ConfigurationError("x"), "451 4.3.5"),
     (DecryptionFailed(), "451 4.3.0"), (MalformedMessage("secret"), "451 4.3.0"), (MemoryError(), "451 4.3.0"),
     (CertificateNotFound("a@b"), "451 4.3.0"), (ZeroDivisionError("secret"), "451 4.3.0")],
)  # fmt: skip
def test_no_exception_is_permanent_or_tells_what_it_was(error: Exception, code: str) -> None:
    line = for_error(error).encode().decode()
    assert line.startswith(code)
    assert "secret" not in line


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (Reply(450, "4.2.1", "full"), "451 4.2.1 next hop said: 450 full [next_hop]"),
        (Reply(452, "", "later"), "451 4.4.0 next hop said: 452 later [next_hop]"),
        (Reply(421, "4.3.2", "bye"), "451 4.3.2 next hop said: 421 bye [next_hop]"),
        (Reply(550, "5.1.1", "no such user"), "550 5.1.1 next hop said: 550 no such user [next_hop]"),
        (Reply(552, "", "big"), "552 5.0.0 next hop said: 552 big [next_hop]"),
        (Reply(503, "5.5.1", "sequence"), "451 4.4.0 next hop said: 503 sequence [next_hop]"),
        (Reply(530, "5.7.0", "login"), "451 4.4.0 next hop said: 530 login [next_hop]"),
        (REPLIES["next_hop_down"], "451 4.4.1 next hop does not answer [next_hop_down]"),
    ],
)
def test_a_refusal_of_the_next_hop_becomes_ours(theirs: Reply, ours: str) -> None:
    assert passed_on(theirs).encode().decode().rstrip() == ours


def test_what_the_next_hop_says_cannot_end_a_line_or_grow() -> None:
    evil = Reply(550, "5.0.0", "a\r\n250 ok\x1b[31m\0" + "é" * 5000)
    line = passed_on(evil).encode()
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert len(line) <= 512
    assert delivered(Reply(250, "2.0.0", "ok\n"), "1").encode() == b"250 2.0.0 ok? [domsec 1]\r\n"
    assert held("h\r\n1", "1").encode() == b"250 2.0.0 held as h?1 [domsec 1]\r\n"


@pytest.mark.parametrize(
    ("code", "enhanced"), [(250, "2.0.0"), (550, "4.7.1"), (450, "5.0.0"), (550, "5"), (600, "5.0.0")]
)
def test_a_decision_refuses_with_codes_that_refuse(code: int, enhanced: str) -> None:
    with pytest.raises(ValueError, match="does not refuse"):
        refusal(code, enhanced, "x")
