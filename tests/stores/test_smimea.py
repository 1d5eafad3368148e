"""SMIMEA against a signed zone on a real name server, behind a real validating resolver; and against liars."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

import zone
from domsec.cms.certificates import Certificate
from domsec.errors import ConfigurationError
from domsec.limits import Limits
from domsec.mime.addresses import Mailbox, parse_address
from domsec.services.names import CONFIDENTIALITY_AUTHORITY
from domsec.stores import smimea
from domsec.stores.smimea import SmimeaDirectory, owner_name, record_text
from domsec.trust.association import Association
from domsec.trust.discovered import Answer, Question
from world import acme, beta

BOB = beta().users["bob"].certificate
DCA = beta().confidentiality.certificate
MANY = 32


def record(address: str, certificate: Certificate, usage: int = 3, selector: int = 0, matching: int = 0) -> str:
    return record_text(parse_address(address), Association.of(certificate, usage, selector, matching))


def records(domain: str) -> Iterator[str]:
    yield record(f"bob@{domain}", BOB)
    yield record(f"{CONFIDENTIALITY_AUTHORITY}@{domain}", DCA)
    yield record(f"Jörg.O'Neill@{domain}", acme().users["bob"].certificate)
    yield record(f"two@{domain}", BOB)
    yield record(f"two@{domain}", beta().ca.certificate, 2)
    yield record(f"two@{domain}", BOB, 1, 1, 2)
    yield record_text(parse_address(f"odd@{domain}"), Association(9, 0, 0, BOB.der))
    yield record_text(parse_address(f"odd@{domain}"), Association(3, 0, 0, b"no certificate"))
    yield record_text(parse_address(f"old@{domain}"), Association.of(BOB), generic=True)
    yield f"{owner_name(parse_address(f'alias@{domain}'))} IN CNAME {owner_name(parse_address(f'bob@{domain}'))}"
    yield f"{owner_name(parse_address(f'other@{domain}'))} IN TXT something"
    for number in range(MANY):
        yield record_text(parse_address(f"most@{domain}"), Association(3, 1, 1, bytes([number]) * 32))
        yield record_text(parse_address(f"crowd@{domain}"), Association(3, 1, 1, bytes([number]) * 32))
    yield record_text(parse_address(f"crowd@{domain}"), Association(3, 1, 1, bytes([MANY]) * 32))


@pytest.fixture(scope="module")
def servers() -> Iterator[zone.Servers]:
    if reason := zone.missing():
        pytest.skip(reason)
    with zone.servers(
        {"beta.example": records("beta.example")},
        unsigned={"plain.example": records("plain.example")},
        spoiled={"bad.example": records("bad.example")},
        dead=["dead.example"],
    ) as running:
        yield running


def ask(servers: zone.Servers, address: str, **more: object) -> Answer:
    role = CONFIDENTIALITY_AUTHORITY if address.startswith(CONFIDENTIALITY_AUTHORITY) else ""
    made = SmimeaDirectory("127.0.0.1", servers.resolver, **more)  # type: ignore[arg-type]
    return asyncio.run(made.ask(Question(address, role)))


# --- where records stand --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R8162-6-01")
@pytest.mark.parametrize(
    ("address", "label"),
    [
        ("hugh@example.com", "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"),  # RFC 8162 3
        ('"hugh"@example.com', "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"),
        (r'"h\ugh"@example.com', "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"),
        (f"{CONFIDENTIALITY_AUTHORITY}@x.example", "9d5192e5c4d2026ecac9a6473ead72c5b8870d2ad76d605945bfee26"),
    ],
)
def test_the_name_of_the_record(address: str, label: str) -> None:
    assert owner_name(parse_address(address)) == f"{label}._smimecert.{address.rpartition('@')[2]}."


def test_local_parts_stay_as_they_are_but_for_their_normal_form() -> None:
    names = [owner_name(Mailbox(local, "beta.example")) for local in ("bob", "Bob", "b.ob", "bob+x")]
    assert len(set(names)) == 4
    assert owner_name(Mailbox("jo\u0308rg", "beta.example")) == owner_name(Mailbox("j\u00f6rg", "beta.example"))


def test_records_are_read_as_they_were_written() -> None:
    for generic in (False, True):
        owner, text = record_text(parse_address("bob@beta.example"), Association.of(BOB), generic=generic).split(" ", 1)
        (read,) = dns.rrset.from_text(owner, 60, *text.split(" ", 2))
        assert (read.usage, read.selector, read.mtype, read.cert) == (3, 0, 0, BOB.der)


# --- secure, insecure, bogus, nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "certificate"),
    [
        ("bob@beta.example", BOB),
        ("alias@beta.example", BOB),
        ("old@beta.example", BOB),
        (f"{CONFIDENTIALITY_AUTHORITY}@beta.example", DCA),
        ("Jörg.O'Neill@beta.example", acme().users["bob"].certificate),
    ],
)
def test_secure(servers: zone.Servers, address: str, certificate: Certificate) -> None:
    answer = ask(servers, address)
    assert (answer.outcome, answer.certificates) == ("found", (certificate,))
    assert answer.associations == (Association.of(certificate),)
    assert answer.seconds is not None
    assert 0 < answer.seconds <= zone.TTL


def test_all_that_is_said_of_an_address(servers: zone.Servers) -> None:
    """A CA's certificate helps to build paths, and is nobody's to encrypt to."""
    answer = ask(servers, "two@beta.example")
    said = {Association.of(BOB), Association.of(beta().ca.certificate, 2), Association.of(BOB, 1, 1, 2)}
    assert set(answer.associations) == said
    assert answer.certificates == (BOB,)


def test_where_only_anchors_are_believed_dns_finds_and_no_more(servers: zone.Servers) -> None:
    answer = ask(servers, "two@beta.example", believed=False)
    assert sorted(association.usage for association in answer.associations) == [0, 1, 1]
    assert answer.certificates == (BOB,)


@pytest.mark.requirement("R8162-6-01")
@pytest.mark.parametrize("address", ["bob@plain.example", f"{CONFIDENTIALITY_AUTHORITY}@plain.example"])
def test_insecure(servers: zone.Servers, address: str) -> None:
    answer = ask(servers, address)
    assert (answer.outcome, answer.certificates, answer.associations) == ("insecure", (), ())
    assert not answer.failed


@pytest.mark.requirement("R8162-6-01")
def test_bogus(servers: zone.Servers) -> None:
    answer = ask(servers, "bob@bad.example")
    assert (answer.outcome, answer.certificates, answer.associations) == ("bogus", (), ())
    assert answer.failed
    assert answer.text.endswith("the signatures of the domain do not hold")


@pytest.mark.parametrize(
    ("address", "how"),
    [
        ("nobody@beta.example", "proven by DNSSEC"),  # NXDOMAIN
        ("other@beta.example", "proven by DNSSEC"),  # there is a name, and no SMIMEA
        ("BOB@beta.example", "proven by DNSSEC"),  # only they know whether that is bob
        ("bob@sub.beta.example", "proven by DNSSEC"),
        ("bob@nowhere.example", "proven by DNSSEC"),
        ("nobody@plain.example", "as far as an unsigned domain can tell"),
        ("odd@beta.example", "no record that can be used"),
        ("bob@[192.0.2.1]", "an address literal has no name in DNS"),
    ],
)
def test_nothing(servers: zone.Servers, address: str, how: str) -> None:
    answer = ask(servers, address)
    assert (answer.outcome, answer.certificates, answer.associations) == ("nothing", (), ())
    assert answer.text.endswith(how)


def test_how_long_nothing_is_nothing(servers: zone.Servers) -> None:
    """As the zone's SOA says (RFC 2308)."""
    seconds = ask(servers, "nobody2@beta.example").seconds
    assert seconds is not None
    assert 0 < seconds <= 300


def test_servers_that_do_not_answer(servers: zone.Servers) -> None:
    """The resolver is still there for others: nothing is said of it."""
    answer = ask(servers, "bob@dead.example", timeout=0.3)
    assert (answer.outcome, answer.failed) == ("unusable", True)
    assert answer.text.endswith("no answer within 0.3 seconds")


def test_no_resolver() -> None:
    answer = asyncio.run(SmimeaDirectory("127.0.0.1", 1).ask(Question("bob@beta.example")))
    assert (answer.outcome, answer.text) == ("unavailable", "no resolver at 127.0.0.1 port 1")


def test_limit_on_records(servers: zone.Servers) -> None:
    assert Limits().answer_certificates == MANY
    assert len(ask(servers, "most@beta.example").associations) == MANY
    answer = ask(servers, "crowd@beta.example")
    assert (answer.outcome, answer.associations) == ("unusable", ())
    assert answer.text.endswith(f"{MANY + 1} records")


def test_limit_on_octets(servers: zone.Servers) -> None:
    answer = ask(servers, "bob@beta.example", limits=Limits(answer_size=100))
    assert answer.outcome == "unusable"
    assert " octets" in answer.text


@pytest.mark.parametrize(("length", "outcome"), [(185, "unavailable"), (186, "nothing")])
def test_a_domain_with_no_room_for_a_name_below_it_has_nothing(length: int, outcome: str) -> None:
    """Nobody is asked, and no other recipient of the message waits."""
    domain = f"{'a' * 60}.{'b' * 60}.{'c' * (length - 130)}.example"
    assert len(domain) == length
    nobody = SmimeaDirectory("127.0.0.1", 1)
    assert asyncio.run(nobody.ask(Question(f"bob@{domain}"))).outcome == outcome


# --- resolvers that lie ---------------------------------------------------------------------------------------------


def with_resolver(say: Callable[[dns.message.Message], bytes | None]) -> Answer:
    """What is made of a resolver that says this to each question; None hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(head := await reader.read(2)) == 2:
            query = dns.message.from_wire(await reader.readexactly(struct.unpack("!H", head)[0]))
            if (said := say(query)) is None:
                break
            writer.write(struct.pack("!H", len(said)) + said)
        writer.close()

    async def test() -> Answer:
        running = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = running.sockets[0].getsockname()[1]
        answer = await SmimeaDirectory("127.0.0.1", port).ask(Question("bob@beta.example"))
        running.close()
        return answer

    return asyncio.run(test())


def response(query: dns.message.Message, *, proven: bool = True, code: int = 0, owner: str = "") -> dns.message.Message:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.Rcode(code))
    if proven:
        made.flags |= dns.flags.AD
    if code == 0:
        name = owner or query.question[0].name.to_text()
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "SMIMEA", f"3 0 0 {BOB.der.hex()}"))
    return made


def changed(query: dns.message.Message) -> dns.message.Message:
    made = response(query)
    made.id ^= 1
    return made


def test_an_honest_resolver() -> None:
    assert with_resolver(lambda q: response(q).to_wire()).certificates == (BOB,)
    assert with_resolver(lambda q: response(q, proven=False).to_wire()).outcome == "insecure"


@pytest.mark.parametrize(
    "say",
    [
        lambda q: None,
        lambda q: b"",
        lambda q: b"\0" * 12,
        lambda q: response(q).to_wire()[:-1],
        lambda q: response(q).to_wire() + b"x",
        lambda q: changed(q).to_wire(),
        lambda q: q.to_wire(),
        lambda q: response(dns.message.make_query("eve.example.", "SMIMEA")).to_wire(),
        lambda q: response(q, code=dns.rcode.REFUSED).to_wire(),
        lambda q: response(q, code=dns.rcode.SERVFAIL).to_wire(),
    ],
)
def test_what_is_no_answer_to_the_question(say: Callable[[dns.message.Message], bytes | None]) -> None:
    answer = with_resolver(say)
    assert (answer.outcome, answer.certificates, answer.associations) == ("unusable", (), ())


def test_a_record_of_another_name_is_none() -> None:
    assert with_resolver(lambda q: response(q, owner="eve.example.").to_wire()).outcome == "nothing"


def test_a_failure_that_goes_away_without_checking_is_bogus() -> None:
    def say(query: dns.message.Message) -> bytes:
        return response(query, code=0 if query.flags & dns.flags.CD else dns.rcode.SERVFAIL).to_wire()

    answer = with_resolver(say)
    assert (answer.outcome, answer.certificates) == ("bogus", ())


def test_without_the_library_the_configuration_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    smimea.require_library()
    monkeypatch.setitem(__import__("sys").modules, "dns.message", None)
    with pytest.raises(ConfigurationError, match=r"domsec\[discovery\]"):
        smimea.require_library()
