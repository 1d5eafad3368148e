"""Authentication-Results: RFC 8601, RFC 7281, decisions A-24, threats T-25."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domsec.errors import MalformedMessage
from domsec.mime import authentication_results as results
from domsec.mime.fields import split_message

OURS = "mx.acme.example"


def survives(field: bytes, ours=OURS) -> bool:
    header, _ = split_message(b"From: a@b.example\r\n" + field + b"\r\nSubject: x\r\n\r\n")
    kept = results.remove(header, ours).raw
    assert kept.startswith(b"From: a@b.example\r\n")
    assert kept.endswith(b"Subject: x\r\n")
    return field in kept


@pytest.mark.requirement("R8601-5-01")
@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.acme.example; smime=pass",
        b"AUTHENTICATION-results:MX.Acme.EXAMPLE;smime=pass",
        b"Authentication-Results : mx.acme.example; smime=pass",
        b"Authentication-Results:\r\n\tmx.acme.example\r\n ; smime=pass",
        b"Authentication-Results: (c (d)) mx.acme.example (e); smime=pass",
        b"Authentication-Results: (c;)mx.acme.example(e) 1; smime=pass",
        b"Authentication-Results: mx.acme.example 1; smime=pass",
        b'Authentication-Results: "mx.acme.example"; smime=pass',
        b'Authentication-Results: "mx\\.acme.example" ; smime=pass',
        b"Authentication-Results: mx.acme.example.; smime=pass",
        b"Authentication-Results: mx.acme.example",
        b"Authentication-Results: mx.acme.example; none",
        "Authentication-Results: ｍｘ.acme.example; smime=pass".encode(),
        # those whose name cannot be told
        b"Authentication-Results:",
        b"Authentication-Results: ; smime=pass",
        b"Authentication-Results: spf=pass smtp.mailfrom=x; dkim=pass",
        b"Authentication-Results: other.example smime=pass",
        b"Authentication-Results: other.example mx.acme.example; smime=pass",
        b"Authentication-Results: other.example (open; smime=pass",
        b'Authentication-Results: "other.example; smime=pass',
        b'Authentication-Results: "other".example; smime=pass',
        b"Authentication-Results: =?utf-8?q?mx.acme.example?=; smime=pass",
        b"Authentication-Results: mx.acme.example/1; smime=pass",
        b"Authentication-Results: mx.acme\x00.example; smime=pass",
        b"Authentication-Results: mx.acme\xff.example; smime=pass",
        "Authentication-Results: mx.ac\u200bme.example; smime=pass".encode(),
        b"Authentication-Results: other.example,mx.acme.example; smime=pass",
        # names that a forgiving reader takes for ours
        b"Authentication-Results\xa0: mx.acme.example; smime=pass",
        b"\x0bAuthentication-Results: mx.acme.example; smime=pass",
        b"Authentication-Results\x00: mx.acme.example; smime=pass",
    ],
)
def test_forged_fields_are_removed(field):
    assert not survives(field)


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: other.example; smime=pass",
        b"Authentication-Results: other.example 1; spf=pass",
        b"Authentication-Results: other.example (mx.acme.example); smime=pass",
        b"Authentication-Results: acme.example; smime=pass",
        b"Authentication-Results: mx.acme.example.evil.example; smime=pass",
        b"ARC-Authentication-Results: i=1; mx.acme.example; smime=pass",
        b"X-Authentication-Results: mx.acme.example; smime=pass",
    ],
)
def test_fields_of_others_stay(field):
    assert survives(field)


@pytest.mark.parametrize(("length", "stays"), [(255, True), (256, False)])
def test_a_name_has_a_length(length, stays):
    """What is compared is normalised first, which takes time by the square of the marks on one letter."""
    name = "a" + "\u0315\u0300" * ((length - 1) // 2) + "b" * ((length - 1) % 2)
    assert len(name) == length
    assert survives(f"Authentication-Results: {name}; smime=pass".encode()) is stays


def test_several_names_and_international_ones():
    field = "Authentication-Results: BÜCHER.example; smime=pass".encode()

    assert not survives(field, ours=["mx.acme.example", "xn--bcher-kva.example"])
    assert not survives(field, ours={"bücher.example"})
    assert survives(field)


@pytest.mark.requirement("R7281-3.2-01")
@pytest.mark.requirement("R8601-4-01")
def test_what_is_written():
    field = results.format_result(
        OURS,
        [
            results.SmimeResult("pass", part="1/2", identifier="domain-signing-authority@acme.example", level="domain",
                                domain="acme.example"),
            results.SmimeResult("policy", reason='name "x" differs', part="2", serial=7, issuer='CN=CA\\, "1", O=é'),
        ],
    )  # fmt: skip

    assert field.name == "authentication-results"
    assert field.raw.decode("ascii") == (
        "Authentication-Results: mx.acme.example;\r\n"
        " smime=pass\r\n"
        '  body.smime-part="1/2"\r\n'
        "  body.smime-identifier=domain-signing-authority@acme.example\r\n"
        "  policy.domsec=domain\r\n"
        "  policy.domsec-domain=acme.example;\r\n"
        " smime=policy\r\n"
        '  reason="name \\"x\\" differs"\r\n'
        "  body.smime-part=2\r\n"
        "  body.smime-serial=7\r\n"
        '  body.smime-issuer="CN=CA\\\\, \\"1\\", O=\\\\C3\\\\A9"\r\n'
    )


@pytest.mark.requirement("R7281-3.1-01")
@pytest.mark.parametrize("outcome", results.OUTCOMES)
def test_the_results_of_the_method(outcome):
    assert results.format_result(OURS, [results.SmimeResult(outcome)]).value == f"{OURS}; smime={outcome}"


def test_nothing_to_say():
    assert results.format_result(OURS, []).value == f"{OURS}; none"


@pytest.mark.requirement("R7281-3.2-01")
def test_serial_and_issuer_are_a_pair():
    endless = results.SmimeResult("pass", serial=1 << 100_000, issuer="CN=x")
    for half in (results.SmimeResult("pass", serial=1), results.SmimeResult("pass", issuer="CN=x"), endless):
        assert results.format_result(OURS, [half]).value == f"{OURS}; smime=pass"


@pytest.mark.parametrize("address", ["é@acme.example", "a\r\nX: y@acme.example", "a" * 301])
def test_an_identifier_that_cannot_be_written_is_left_out(address):
    assert results.format_result(OURS, [results.SmimeResult("pass", identifier=address)]).value == f"{OURS}; smime=pass"


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\r\nb", "é.example", 'a"b'])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(MalformedMessage):
        results.format_result(name, [])


def test_an_unknown_result_is_refused():
    with pytest.raises(MalformedMessage):
        results.format_result(OURS, [results.SmimeResult("pass; spf=pass")])


HOSTILE = st.text(alphabet='a"\\;\r\n\t\x00()= é\u2028\udc80@,', max_size=20) | st.text(max_size=400)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.integers())
def test_no_value_breaks_out_of_its_quotes(reason, part, identifier, issuer, serial):
    field = results.format_result(
        OURS,
        [results.SmimeResult("fail", reason, part, identifier, serial, issuer, level=part, domain=issuer)] * 2,
    )
    header, body = split_message(field.raw + b"\r\n")

    assert [one.name for one in header.fields] == ["authentication-results"]
    assert bytes(body) == b""
    assert field.raw.isascii()
    assert all(len(line) <= 998 for line in field.raw.split(b"\r\n"))
    assert results.parse_authserv_id(field.value) == OURS
    outside = "".join(field.value.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    assert outside.count(";") == 2
    assert outside.count("smime=fail") == 2
    assert "(" not in outside


# --- those of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mx.example; none", []),
        ("mx.example 1; none", []),
        ("mx.example", []),
        ("mx.example;", []),
        ("mx.example; spf=pass smtp.mailfrom=example.net", [("spf", "pass", [("smtp.mailfrom", "example.net")])]),
        ('mx.example; SPF/1 = Pass (c) smtp . mailfrom = Example.net (d); dkim=fail reason="bad; key=x" header.i=@a',
         [("spf", "pass", [("smtp.mailfrom", "Example.net")]),
          ("dkim", "fail", [("reason", "bad; key=x"), ("header.i", "@a")])]),
        ('mx.example; auth=pass smtp.auth="al ice"@example.net',
         [("auth", "pass", [("smtp.auth", "al ice@example.net")])]),
        ("mx.example; auth=pass;", [("auth", "pass", [])]),
    ],
)  # fmt: skip
def test_results_of_others_are_read(value: str, expected: list[tuple[str, str, list[tuple[str, str]]]]) -> None:
    """RFC 8601 2.2."""
    found = results.parse_results(value)
    assert [(r.method, r.result, list(r.properties)) for r in found] == expected


@pytest.mark.parametrize(
    "value",
    ["", "; spf=pass", "mx.example spf=pass", "mx.example; spf", "mx.example; =pass", "mx.example; spf=pass smtp=x",
     "mx.example; spf=pass smtp.mailfrom=", "mx.example; spf=pass (", 'mx.example; spf=pass smtp.a="x',
     "mx.example; spf=pass x", "mx.example; none spf=pass"],
)  # fmt: skip
def test_what_cannot_be_told_is_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage):
        results.parse_results(value)


@given(st.text(alphabet='ab.;=/ "()\\@-1', max_size=60))
def test_reading_ends_and_raises_nothing_else(text: str) -> None:
    try:
        found = results.parse_results(f"mx.example;{text}")
    except MalformedMessage:
        return
    assert all(result.method and result.result for result in found)
