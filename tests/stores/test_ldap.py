"""LDAP against a real OpenLDAP, and against servers that no honest program would be."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import pki
import slapd
from domsec import der, oids
from domsec.cms import content_info, signed_data
from domsec.cms.certificates import Certificate
from domsec.limits import Limits
from domsec.services.names import CONFIDENTIALITY_AUTHORITY, SIGNING_AUTHORITY
from domsec.stores.ldap import LdapDirectory, authority_names, certificates_in, escaped_value
from domsec.stores.tls import tls_context
from domsec.trust.discovered import Answer, Question
from world import acme, beta

BASE = "dc=beta,dc=example"
BOB = Question("bob@beta.example")
MANY = 32


def dca(domain: str, name: bytes | None = None) -> Question:
    return Question(f"{CONFIDENTIALITY_AUTHORITY}@{domain}", CONFIDENTIALITY_AUTHORITY, name)


def certs_only(*certificates: Certificate) -> bytes:
    """RFC 2798 2.8: what userSMIMECertificate holds."""
    value = der.sequence(
        der.integer(1),
        der.set_of([]),
        der.sequence(der.oid(oids.ID_DATA)),
        der.tlv(der.context(0), *(c.der for c in certificates)),
        der.set_of([]),
    )
    return content_info.wrap(oids.ID_SIGNED_DATA, value)


def entries() -> Iterator[str]:
    one, other = beta().users["bob"].certificate, beta().users["alice"].certificate
    authority = beta().confidentiality.certificate
    yield slapd.person("bob", "bob@beta.example", [one])
    yield slapd.person("carol", "carol@beta.example", [authority])
    yield slapd.person("dave", "dave@beta.example", pkcs7=[certs_only(other, beta().ca.certificate)])
    yield slapd.person("odd", "odd@beta.example", [b"0\x03\x02\x01\x01"], pkcs7=[b"0\x00"])
    yield slapd.person("star", "*@beta.example", [acme().users["bob"].certificate])
    yield slapd.person("hidden", "hidden@beta.example", [one], ou="hidden")
    yield slapd.person("none", "none@beta.example")
    ca = beta().ca
    crowd = [pki.identity("user", "x@beta.example", ca, serial=1000 + n).certificate for n in range(MANY + 1)]
    yield slapd.person("most", "most@beta.example", crowd[:MANY])
    yield slapd.person("crowd", "crowd@beta.example", crowd)
    for number in range(17):
        yield slapd.person(f"twin{number}", "twins@beta.example", [one])
    yield slapd.authority(f"cn={CONFIDENTIALITY_AUTHORITY},dc=beta,dc=example", [authority])
    yield slapd.authority(f"cn={CONFIDENTIALITY_AUTHORITY},o=Beta,c=US", [beta().signing.certificate])
    yield slapd.authority(
        "uid=filed,dc=beta,dc=example",
        [acme().confidentiality.certificate],
        mail=f"{CONFIDENTIALITY_AUTHORITY}@sales.beta.example",
    )
    yield "dn: ou=away,dc=beta,dc=example\nobjectClass: referral\nobjectClass: extensibleObject\n"
    yield f"ref: ldap://127.0.0.1:1/{BASE}\n\n"


@pytest.fixture(scope="module")
def server() -> Iterator[slapd.Server]:
    if reason := slapd.missing():
        pytest.skip(reason)
    with slapd.server(["".join(entries())]) as running:
        yield running


def directory(server: slapd.Server, **more: object) -> LdapDirectory:
    ca = Certificate(x509.load_pem_x509_certificate(server.ca).public_bytes(Encoding.DER))
    made = LdapDirectory("localhost", server.plain, "start", base=BASE, context=tls_context([ca]))
    return replace(made, **more)  # type: ignore[arg-type]


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop"):
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop


def ask(directory: LdapDirectory, question: Question, loop: str = "asyncio") -> Answer:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(directory.ask(question))


def found(directory: LdapDirectory, question: Question) -> set[Certificate]:
    answer = ask(directory, question)
    assert answer.outcome == "found", answer
    return set(answer.certificates)


# --- both ways of RFC 3183 4.2 --------------------------------------------------------------------------------------


def test_the_entry_of_a_person(server: slapd.Server) -> None:
    assert found(directory(server), BOB) == {beta().users["bob"].certificate}
    assert found(directory(server), Question("BOB@beta.example")) == {beta().users["bob"].certificate}


def test_certificates_in_pkcs7(server: slapd.Server) -> None:
    expected = {beta().users["alice"].certificate, beta().ca.certificate}
    assert found(directory(server), Question("dave@beta.example")) == expected


@pytest.mark.requirement("R3183-4.2-05")
def test_the_authority_filed_under_a_person(server: slapd.Server) -> None:
    assert found(directory(server), Question("carol@beta.example")) == {beta().confidentiality.certificate}


@pytest.mark.requirement("R3183-4.2-06")
def test_the_authority_under_its_mapped_name(server: slapd.Server) -> None:
    """Also where nobody said under which base people are."""
    for base in (BASE, ""):
        assert found(directory(server, base=base), dca("beta.example")) == {beta().confidentiality.certificate}
    agreed = x509.Name.from_rfc4514_string("O=Beta,C=US").public_bytes()
    both = {beta().confidentiality.certificate, beta().signing.certificate}
    assert found(directory(server), dca("beta.example", agreed)) == both


def test_the_authority_by_its_mail_address(server: slapd.Server) -> None:
    assert found(directory(server), dca("sales.beta.example")) == {acme().confidentiality.certificate}


@pytest.mark.parametrize(
    "question",
    [
        Question("nobody@beta.example"),
        Question("none@beta.example"),
        Question("odd@beta.example"),
        dca("gamma.example"),
        Question(f"{SIGNING_AUTHORITY}@beta.example", SIGNING_AUTHORITY),
    ],
    ids=lambda question: question.address,
)
def test_nothing(server: slapd.Server, question: Question) -> None:
    assert ask(directory(server), question).outcome == "nothing"


def test_mapped_names() -> None:
    question = dca("sales.beta.example", x509.Name.from_rfc4514_string(r"OU=R\, D+L=X,O=Beta,C=US").public_bytes())
    assert authority_names(question) == (
        "CN=domain-confidentiality-authority,DC=sales,DC=beta,DC=example",
        r"CN=domain-confidentiality-authority,L=X+OU=R\, D,O=Beta,C=US",  # as DER sorts
    )


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("x", "x"),
        ("a,b+c", r"a\,b\+c"),
        ('"<>;=\\#', r"\"\<\>\;\=\\\#"),
        (" x ", r"\ x\ "),
        (" ", r"\ "),
        ("\0", r"\00"),
        ("ö", "ö"),
    ],
)
def test_values_in_names(value: str, escaped: str) -> None:
    assert escaped_value(value) == escaped
    if value != "\0":  # cryptography keeps it as the three characters
        assert x509.Name.from_rfc4514_string(f"CN={escaped}").rdns[0].rfc4514_string()


# --- what an address can do to a search -----------------------------------------------------------------------------


@pytest.mark.requirement("R3183-4.2-01")
@pytest.mark.parametrize("local", ["b*", "*)(uid=bob", "bob)(mail=*", "\\62ob", '"bob"', "öl", "(|(uid=*))"])
def test_an_address_is_a_value_and_no_filter(server: slapd.Server, local: str) -> None:
    assert ask(directory(server), Question(f"{local}@beta.example")).outcome == "nothing"


def test_a_star_is_a_star(server: slapd.Server) -> None:
    assert found(directory(server), Question("*@beta.example")) == {acme().users["bob"].certificate}


# --- who is asked, and who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", ["start", "ldaps", "none"])
def test_every_way_to_connect(server: slapd.Server, tls: str, loop: str) -> None:
    """In both event loops: the gateway runs in uvloop where that is installed."""
    port = server.secure if tls == "ldaps" else server.plain
    answer = ask(directory(server, tls=tls, port=port), BOB, loop)
    assert answer.certificates == (beta().users["bob"].certificate,)
    stranger = ask(directory(server, tls=tls, port=port, context=tls_context([beta().ca.certificate])), BOB, loop)
    assert stranger.outcome == ("found" if tls == "none" else "unavailable")


@pytest.mark.parametrize("tls", ["start", "ldaps"])
def test_a_server_that_nobody_certified_is_not_asked(server: slapd.Server, tls: str) -> None:
    port = server.secure if tls == "ldaps" else server.plain
    for change in ({"context": tls_context([beta().ca.certificate])}, {"context": None}, {"host": "127.0.0.1"}):
        answer = ask(directory(server, tls=tls, port=port, **change), BOB)
        assert (answer.outcome, answer.certificates) == ("unavailable", ())
        assert "certificate" in answer.text or "mismatch" in answer.text


def test_logging_in(server: slapd.Server) -> None:
    hidden = Question("hidden@beta.example")
    name, password = slapd.READER
    assert ask(directory(server), hidden).outcome == "nothing"
    assert found(directory(server, bind=(name, password)), hidden) == {beta().users["bob"].certificate}
    answer = ask(directory(server, bind=(name, "guess")), hidden)
    assert (answer.outcome, answer.text) == ("unavailable", "bind: invalid credentials")


def test_referrals_lead_nowhere(server: slapd.Server) -> None:
    assert ask(directory(server, base=f"ou=away,{BASE}"), BOB).outcome == "nothing"
    assert found(directory(server), BOB)  # a reference among the results is passed over


# --- too much -------------------------------------------------------------------------------------------------------


def test_limit_on_certificates(server: slapd.Server) -> None:
    assert Limits().answer_certificates == MANY
    assert len(found(directory(server), Question("most@beta.example"))) == MANY
    answer = ask(directory(server), Question("crowd@beta.example"))
    assert (answer.outcome, answer.text) == ("unusable", f"more than {MANY} certificates")
    five = certs_only(*[pki.identity("user", f"{n}@x.example", beta().ca).certificate for n in range(5)])
    for most, count in ((5, 5), (4, 4)):
        assert len(certificates_in("usersmimecertificate", five, Limits(answer_certificates=most))) == count


def test_limit_on_size(server: slapd.Server) -> None:
    """Octets of everything the server sends for one question."""
    sizes = range(200, 2000)
    fits = [ask(directory(server, tls="none", limits=Limits(answer_size=size)), BOB) for size in (200, 2000)]
    assert [answer.outcome for answer in fits] == ["unusable", "found"]
    assert fits[0].text == "an answer of more than 200 octets"
    least, most = sizes[0], sizes[-1]
    while most - least > 1:
        middle = (least + most) // 2
        answer = ask(directory(server, tls="none", limits=Limits(answer_size=middle)), BOB)
        least, most = (middle, most) if answer.outcome == "unusable" else (least, middle)
    assert ask(directory(server, tls="none", limits=Limits(answer_size=most)), BOB).outcome == "found"


def test_more_entries_than_one_address_can_have(server: slapd.Server) -> None:
    answer = ask(directory(server), Question("twins@beta.example"))
    assert (answer.outcome, answer.text) == ("unusable", "search: size limit exceeded")


def test_a_certificate_that_is_too_long_is_passed_over() -> None:
    octets = beta().ca.certificate.der
    assert certificates_in("usercertificate", octets, Limits(certificate_size=len(octets)))
    assert not certificates_in("usercertificate", octets, Limits(certificate_size=len(octets) - 1))


# --- servers that are none ------------------------------------------------------------------------------------------


def with_server(say: Callable[[bytes], bytes | None], **more: object) -> Answer:
    """What is made of a server that says this to each thing it is told; None hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while heard := await reader.read(65536):
            said = say(heard)
            if said is None:
                break
            writer.write(said)
        writer.close()

    async def test() -> Answer:
        running = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = running.sockets[0].getsockname()[1]
        made = LdapDirectory("127.0.0.1", port, "none", base=BASE, timeout=5)
        answer = await replace(made, **more).ask(BOB)  # type: ignore[arg-type]
        running.close()
        return answer

    return asyncio.run(test())


def message(operation: bytes, serial: int = 1) -> bytes:
    return der.sequence(der.integer(serial), operation)


def result(tag: int, code: int) -> bytes:
    return der.tlv(tag, der.integer(code, der.ENUMERATED), der.octet_string(b""), der.octet_string(b""))


DONE = message(result(0x65, 0))


def test_the_client_reads_what_an_honest_server_says() -> None:
    assert with_server(lambda _: DONE).outcome == "nothing"
    assert with_server(lambda _: message(der.tlv(0x73, der.octet_string(b"ldap://x/"))) + DONE).outcome == "nothing"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (None, "unavailable"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unusable"),
        (b"\x30\x80\x02\x01\x01", "unusable"),
        (b"\x30\x87" + b"\xff" * 7, "unusable"),
        (b"\x30\x86" + b"\xff" * 6, "unusable"),
        (b"\x30\x84\x00\x10\x00\x01", "unusable"),
        (b"\x30\x00", "unusable"),
        (b"\x30\x03\x02\x01\x01", "unusable"),
        (message(result(0x65, 0), serial=2), "unavailable"),
        (message(result(0x78, 0), serial=0), "unavailable"),
        (message(result(0x61, 0)), "unusable"),
        (message(result(0x65, 51)), "unavailable"),
        (message(result(0x65, 50)), "unusable"),
        (message(result(0x65, 4711)), "unusable"),
        (message(der.tlv(0x64, der.octet_string(b""), der.sequence(der.null()))), "unusable"),
        (message(der.tlv(0x65)), "unusable"),
    ],
)
def test_a_server_that_says_something_else(said: bytes | None, outcome: str) -> None:
    answer = with_server(lambda _: said)
    assert (answer.outcome, answer.certificates) == (outcome, ())
    assert answer.text


def test_entries_without_end() -> None:
    """A server that never says that it is done is cut off by the count of what it sent."""
    entry = message(der.tlv(0x64, der.octet_string(b"dc=x"), der.sequence()))
    answer = with_server(lambda _: entry * 100_000, timeout=30)
    assert (answer.outcome, answer.text) == ("unusable", f"an answer of more than {Limits().answer_size} octets")


def test_a_server_that_says_nothing() -> None:
    answer = with_server(lambda _: b"", timeout=0.05)
    assert (answer.outcome, answer.text) == ("unavailable", "no answer within 0.05 seconds")


def test_nobody_there() -> None:
    answer = ask(LdapDirectory("127.0.0.1", 1, "none", base=BASE), BOB)
    assert answer.outcome == "unavailable"
    assert answer.text


STARTED = message(result(0x78, 0))


@pytest.mark.parametrize("said", [STARTED + DONE, STARTED + b"x", message(result(0x78, 52)), STARTED])
def test_nothing_said_before_tls_is_believed(said: bytes) -> None:
    """An answer slipped in behind that to StartTLS, a server that will not, and one that then speaks no TLS."""
    answers = iter([said])
    answer = with_server(lambda _: next(answers, DONE), tls="start", context=ssl.create_default_context())
    assert (answer.outcome, answer.certificates) == ("unavailable", ())


def test_the_parser_of_pkcs7_takes_no_other_content() -> None:
    assert certificates_in("usersmimecertificate", content_info.wrap(oids.ID_DATA, der.octet_string(b"x"))) == ()
    parsed = signed_data.parse_signed_data(content_info.parse(certs_only(beta().ca.certificate)).content)
    assert parsed.certificates == (beta().ca.certificate,)
