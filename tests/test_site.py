"""An installation over time: keys that take over from others."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import pki
import world
from domsec.errors import ConfigurationError
from domsec.policy.configuration import Configuration
from domsec.services.layers import peel
from domsec.site import Site, in_force, load_list, load_site
from world import NOW, acme

OLD = acme().signing
NEW = pki.identity("signing", "acme.example", acme().ca, now=NOW + timedelta(days=10))
OLD_DCA = acme().confidentiality
NEW_DCA = pki.identity("confidentiality", "acme.example", acme().ca, now=NOW + timedelta(days=10))
EARLIER_DCA = pki.identity("confidentiality", "acme.example", acme().ca, now=NOW - timedelta(days=400), days=365)


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (day(-60), NEW),  # none is valid: the newest, so that the gate can say what is wrong with it
        (day(0), OLD),
        (day(9), OLD),
        (NEW.certificate.not_before, NEW),
        (day(11), NEW),
        (OLD.certificate.not_after, NEW),
        (day(2000), NEW),
    ],
)
def test_the_newest_key_that_is_valid_is_in_force(when: datetime, expected: pki.Identity) -> None:
    keys = (world.credential(NEW), world.credential(OLD))
    assert in_force(keys, when) is world.credential(expected)


def test_no_keys_and_one_key_need_no_looking_at_dates() -> None:
    assert in_force((), NOW) is None
    assert in_force((world.credential(NEW),), NOW) is world.credential(NEW)


def write(path: Path, identity: pki.Identity) -> None:
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + identity.certificate.x509.public_bytes(Encoding.PEM))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """acme in the middle of a change of both its keys."""
    for name, identity in (
        ("old.pem", OLD), ("new.pem", NEW), ("old-dca.pem", OLD_DCA), ("new-dca.pem", NEW_DCA),
        ("earlier-dca.pem", EARLIER_DCA),
    ):  # fmt: skip
        write(tmp_path / name, identity)
    (tmp_path / "ca.pem").write_bytes(acme().ca.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "domsec.toml").write_text(
        'domains = ["acme.example"]\n[keys.signing]\ncredential = ["old.pem", "new.pem"]\n'
        '[keys.confidentiality]\ncredential = ["old-dca.pem", "new-dca.pem"]\nprevious = ["earlier-dca.pem"]\n'
        '[trust]\nroles = ["ca.pem"]\n[[outbound.evidence]]\nkind = "network"\nnetworks = ["127.0.0.0/8"]\n'
        '[[peer]]\ndomain = "beta.example"\nencrypt = "no"\n'
    )
    return load_site(Configuration.load(tmp_path / "domsec.toml"))


@pytest.mark.parametrize("place", ["new-dca.pem", "earlier-dca.pem"])
def test_an_installation_with_one_key_in_two_roles_does_not_load(site: Site, tmp_path: Path, place: str) -> None:
    """Decisions A-45, threats T-16: not even where the other is a certificate of old."""
    write(tmp_path / place, pki.identity("confidentiality", "acme.example", acme().ca, key=NEW.key))
    with pytest.raises(ConfigurationError) as caught:
        load_site(site.configuration)
    assert caught.value.problems == (
        "the key of domain-confidentiality-authority is that of domain-signing-authority too, "
        "expected a key of its own",
    )


@pytest.mark.parametrize(("number", "signing", "dca"), [(0, OLD, OLD_DCA), (11, NEW, NEW_DCA)])
def test_a_key_signs_and_is_announced_from_the_day_its_certificate_is_valid(
    site: Site, number: int, signing: pki.Identity, dca: pki.Identity
) -> None:
    """Without a restart or a reload in between: what decides is when the message came."""
    given = world.transaction(world.build("OC"))
    sent = world.only(world.decide(replace(given, received_at=day(number)), site))
    layer = peel(sent).root
    assert layer.signed is not None
    assert signing.certificate in layer.signed.certificates
    assert dca.certificate in layer.signed.certificates
    other = NEW if signing is OLD else OLD
    assert other.certificate not in layer.signed.certificates


@pytest.mark.parametrize("recipient", [OLD_DCA, NEW_DCA, EARLIER_DCA])
@pytest.mark.parametrize("number", [0, 11])
def test_every_key_opens_what_was_encrypted_to_it(site: Site, recipient: pki.Identity, number: int) -> None:
    octets = world.message(world.encrypted(world.TEXT, recipient))
    context = site.at(day(number)).context(day(number))
    root = peel(octets, context.keyring).root
    assert root.opened is not None
    assert root.opened.credential.certificate == recipient.certificate


def test_what_is_prepared_for_signing_is_kept_from_message_to_message(site: Site) -> None:
    assert site.at(day(0)) is site.at(day(1))
    assert site.at(day(11)) is site.at(day(12))
    assert site.at(day(11)).at(day(0)).signing is site.at(day(0)).signing
    alone = world.acme_site()
    assert alone.at(day(0)) is alone


@pytest.mark.parametrize(("when", "signs"), [(0, "old"), (11, "new")])
def test_a_list_whose_keys_are_in_the_key_process_signs_with_the_newest_that_can(
    tmp_path: Path, when: int, signs: str
) -> None:
    """And is known by all of them, so that a loop is cut whichever signed before."""
    (tmp_path / "staff").mkdir()
    made = {
        "old": pki.identity("user", "staff@acme.example", acme().ca),
        "new": pki.identity("user", "staff@acme.example", acme().ca, now=NOW + timedelta(days=10)),
        "reads": pki.identity("user", "staff@acme.example", acme().ca, "x25519", now=NOW - timedelta(days=1)),
    }
    for name, each in made.items():
        (tmp_path / "staff" / f"{name}.pem").write_bytes(each.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "domsec.toml").write_text(
        'domains = ["acme.example"]\n[[list]]\nname = "staff"\naddress = "staff@acme.example"\n'
        'owner = "olga@acme.example"\nmembers = ["bob@acme.example"]\n'
        'credential = "keyd:lists"\ncertificates = "staff"\n'
    )
    found = load_list(Configuration.load(tmp_path / "domsec.toml"), "staff", now=day(when)).credentials
    assert found[0].certificate == made[signs].certificate
    assert {each.certificate for each in found} == {each.certificate for each in made.values()}
