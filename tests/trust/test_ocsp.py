"""OCSP responses: what is believed of whom, and for how long. They are made by another library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

import pki
from domsec import der, oids
from domsec.cms.algorithms import DIGESTS
from domsec.cms.certificates import Certificate
from domsec.errors import MalformedMessage
from domsec.trust import issue
from domsec.trust.crl import Status, crl_index
from domsec.trust.ocsp import (
    MAX_ANSWERS,
    MAX_CERTIFICATES,
    MAX_SIZE,
    OcspIndex,
    OcspResponse,
    loadable_responses,
    ocsp_index,
    request,
)
from domsec.trust.path import AnchorSet, PathVerdict, Snapshot, Validator

ACME = pki.world().acme
CA = ACME.ca
LEAF = ACME.signing.certificate
OTHER = ACME.review.certificate
HOUR = timedelta(hours=1)
SHA1, SHA256 = DIGESTS[oids.SHA1].identifier, DIGESTS[oids.SHA256].identifier
GOOD, REVOKED, UNKNOWN = pyca.OCSPCertStatus.GOOD, pyca.OCSPCertStatus.REVOKED, pyca.OCSPCertStatus.UNKNOWN


def response(
    status: pyca.OCSPCertStatus = GOOD,
    certificate: Certificate = LEAF,
    *,
    issuer: pki.Identity = CA,
    signer: pki.Identity | None = None,
    certificates: Sequence[Certificate] = (),
    digest: hashes.HashAlgorithm | None = None,
    since: datetime = pki.NOW - HOUR,
    until: datetime | None = pki.NOW + HOUR,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    by_key: bool = False,
) -> bytes:
    """One answer, by the issuer itself unless another signs."""
    responder = signer or issuer
    encoding = pyca.OCSPResponderEncoding.HASH if by_key else pyca.OCSPResponderEncoding.NAME
    revoked = status is REVOKED
    builder = pyca.OCSPResponseBuilder().add_response(
        certificate.x509,
        issuer.certificate.x509,
        digest or hashes.SHA1(),
        status,
        since,
        until,
        since if revoked else None,
        x509.ReasonFlags.key_compromise if revoked else None,
    )
    builder = builder.responder_id(encoding, responder.certificate.x509)
    if certificates:
        builder = builder.certificates([each.x509 for each in certificates])
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(responder.signing_key, hashes.SHA256()).public_bytes(Encoding.DER)


def responder(
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.OCSP_SIGNING,
    *,
    issuer: pki.Identity = CA,
    days: int = 365,
    usage: tuple[str, ...] = ("digital_signature",),
    no_check: bool = False,
) -> pki.Identity:
    """Somebody who answers for a CA."""
    key = issue.new_key("p256")
    name = issue._name([(oids.COMMON_NAME, "responder")])
    builder = issue._builder(name, key.public_key(), issuer.certificate, pki.START, days, 4711)
    builder = builder.add_extension(issue._key_usage(*usage), True)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    if no_check:
        builder = builder.add_extension(x509.OCSPNoCheck(), False)
    return pki.Identity(issue._signed(builder, issuer.signing_key), key)


def asked(*octets: bytes, now: datetime = pki.NOW, index: OcspIndex | None = None) -> Status:
    return (index or ocsp_index(octets)).status(LEAF, CA.certificate, now)


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256()])
@pytest.mark.parametrize("by_key", [True, False])
def test_an_answer_of_the_issuer_itself(digest, by_key):
    assert asked(response(digest=digest, by_key=by_key)) == Status("good", "", pki.NOW + HOUR)


def test_an_answer_that_it_is_revoked():
    status = asked(response(REVOKED))
    assert (status.state, status.text) == ("revoked", "revoked 2026-11-23 11:00:00Z, keyCompromise")


def test_an_answer_that_it_is_not_known():
    assert asked(response(UNKNOWN)).text == "the OCSP responder does not know it"


def test_an_answer_about_another_certificate_or_issuer_says_nothing():
    nothing = Status("unknown", "no OCSP response about it")
    assert asked(response(certificate=OTHER)) == nothing
    namesake = pki.identity("signing", "beta.example", pki.ca("acme.example CA"), serial=LEAF.serial)
    assert asked(response(certificate=namesake.certificate, issuer=pki.ca("acme.example CA"))) == nothing
    assert asked() == nothing


@pytest.mark.parametrize(
    ("since", "until", "state"),
    [
        (-HOUR, HOUR, "good"),
        (timedelta(0), timedelta(0), "good"),
        (timedelta(seconds=1), HOUR, "unknown"),
        (-HOUR, -timedelta(seconds=1), "unknown"),
        (-timedelta(days=1), None, "good"),
        (-timedelta(days=1, seconds=1), None, "unknown"),
    ],
)
def test_an_answer_holds_from_its_making_to_the_next(since, until, state):
    octets = response(since=pki.NOW + since, until=pki.NOW + until if until is not None else None)
    assert asked(octets).state == state


def test_a_revoked_certificate_stays_so_when_the_answer_is_old():
    assert asked(response(REVOKED, until=pki.NOW - HOUR / 2)).state == "revoked"


def test_for_want_of_a_newer_answer_an_old_one_holds_a_while_where_that_is_agreed():
    octets = response(until=pki.NOW - HOUR / 2)
    assert asked(index=ocsp_index([octets], grace=HOUR / 2)).state == "good"
    assert asked(index=ocsp_index([octets], grace=HOUR / 3)).state == "unknown"


def test_the_newest_answer_counts_and_of_one_time_the_worse():
    old, new = pki.NOW - HOUR, pki.NOW - HOUR / 2
    assert asked(response(since=old), response(REVOKED, since=new)).state == "revoked"
    assert asked(response(REVOKED, since=old), response(since=new)).state == "good"
    assert asked(response(since=old), response(REVOKED, since=old)).state == "revoked"


# --- who may say it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signer", "state"),
    [
        (responder(), "good"),
        (responder(None), "unknown"),
        (responder(ExtendedKeyUsageOID.EMAIL_PROTECTION), "unknown"),
        (responder(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), "unknown"),
        (responder(usage=("key_agreement",)), "unknown"),
        (responder(issuer=pki.ca("acme.example CA")), "unknown"),
        (responder(issuer=pki.world().beta.ca), "unknown"),
        (responder(days=29), "unknown"),
        (ACME.signing, "unknown"),
    ],
)
def test_whom_the_issuer_lets_answer(signer, state):
    """RFC 6960 4.2.2.2: by a certificate of its own for this purpose. No certificate vouches for itself."""
    assert asked(response(signer=signer, certificates=[signer.certificate])).state == state


def test_a_responder_whose_certificate_is_not_there_says_nothing():
    told = asked(response(signer=responder()))
    assert told == Status("unknown", "no OCSP response about it is signed by whom its issuer let answer")


def test_a_forged_answer_does_not_hide_the_true_one():
    forger = pki.ca("acme.example CA")
    forged = response(REVOKED, signer=forger, since=pki.NOW)
    assert asked(forged).state == "unknown"
    assert asked(forged, response()).state == "good"


def test_who_signed_is_remembered_of_our_own_responses_and_of_no_other():
    """Whoever writes to us could send one after the other that is new."""
    own, theirs = response(), response(since=pki.NOW, digest=hashes.SHA256())
    index = ocsp_index([own])
    for offered in ((), loadable_responses([theirs]), loadable_responses([own, theirs])):
        assert index.status(LEAF, CA.certificate, pki.NOW, offered).state == "good"
    assert {key[0] for key in index._signers} == {each.sha256 for each in loadable_responses([own])}
    assert len(index._signers) == 1


@pytest.mark.parametrize("place", [b"signature", b"content"])
def test_an_altered_answer_says_nothing(place):
    octets = bytearray(response())
    octets[-5 if place == b"signature" else octets.index(LEAF.serial.to_bytes(1, "big"))] ^= 1
    assert all(asked(each.der).state == "unknown" for each in loadable_responses([bytes(octets)]))


def test_a_responder_that_was_revoked_says_nothing_unless_it_need_not_be_asked():
    for no_check, state in ((False, "unknown"), (True, "good")):
        signer = responder(no_check=no_check)
        index = ocsp_index([response(signer=signer, certificates=[signer.certificate])])
        status = index.status(LEAF, CA.certificate, pki.NOW, is_revoked=lambda _: True)
        assert status.state == state


# --- what cannot be read ---------------------------------------------------------------------------------------------


NONCE = x509.OCSPNonce(b"12345678")
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), der.null())


@pytest.mark.parametrize(
    ("extension", "critical", "state"),
    [(NONCE, False, "good"), (NONCE, True, "good"), (STRANGE, False, "good"), (STRANGE, True, "unknown")],
)
def test_a_critical_extension_that_is_not_known_voids_an_answer(extension, critical, state):
    assert asked(response(extensions=[(extension, critical)])).state == state


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30\x00",
        response()[:-1],
        response() + b"\0",
        LEAF.der,
        pyca.OCSPResponseBuilder.build_unsuccessful(pyca.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
        response(certificates=[LEAF] * (MAX_CERTIFICATES + 1)),
        bytes(MAX_SIZE + 1),
    ],
)
def test_what_is_no_successful_response_is_refused(octets):
    with pytest.raises(MalformedMessage):
        OcspResponse(octets)
    assert len(loadable_responses([octets, response()])) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_response_is_refused_or_says_nothing_else(seed):
    """Whatever octets: an error of domsec, or an answer that was signed."""
    random = Random(seed)
    signer = responder()
    whole = response(signer=signer, certificates=[signer.certificate])
    for _ in range(100):
        octets = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            octets[random.randrange(len(octets))] = random.randrange(256)
        for found in loadable_responses([bytes(octets), bytes(octets[: random.randrange(len(octets))])]):
            assert asked(index=OcspIndex((found,))).state in ("good", "unknown")


def test_a_response_may_bring_so_many_certificates_and_no_more():
    assert asked(response(certificates=[LEAF] * MAX_CERTIFICATES)).state == "good"


def test_a_response_may_hold_so_many_answers_and_no_more():
    one = _responses(response())
    assert len(OcspResponse(_with_answers(one * MAX_ANSWERS)).answers) == MAX_ANSWERS
    with pytest.raises(MalformedMessage, match="more than"):
        OcspResponse(_with_answers(one * (MAX_ANSWERS + 1)))


def _responses(octets: bytes) -> bytes:
    """The SingleResponse of a response."""
    single = pyca.load_der_ocsp_response(octets).tbs_response_bytes
    reader = der.Reader(single)
    reader.enter(der.SEQUENCE)
    reader.skip()
    reader.skip()
    return bytes(reader.content(der.SEQUENCE))


def _with_answers(singles: bytes) -> bytes:
    """A response with these, signed by nobody."""
    key = der.tlv(der.context(2), der.octet_string(bytes(20)))
    data = der.sequence(key, der.tlv(der.GENERALIZED_TIME, b"20261123120000Z"), der.sequence(singles))
    basic = der.sequence(data, der.sequence(der.oid(oids.ECDSA_WITH_SHA256)), der.bit_string(b"x"))
    inner = der.sequence(der.oid(oids.ID_PKIX_OCSP_BASIC), der.octet_string(basic))
    return der.sequence(der.tlv(der.ENUMERATED, b"\0"), der.explicit(0, inner))


# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("digest", "theirs"), [(SHA1, hashes.SHA1()), (SHA256, hashes.SHA256())])
def test_a_request_is_what_another_library_makes_and_reads(digest, theirs):
    octets = request(LEAF, CA.certificate, digest)
    made = pyca.OCSPRequestBuilder().add_certificate(LEAF.x509, CA.certificate.x509, theirs).build()
    assert pyca.load_der_ocsp_request(octets).issuer_key_hash == made.issuer_key_hash
    assert pyca.load_der_ocsp_request(octets).issuer_name_hash == made.issuer_name_hash
    assert pyca.load_der_ocsp_request(octets).serial_number == LEAF.serial


# --- in a path -------------------------------------------------------------------------------------------------------


def crl(*serials: int, days: int = 60) -> bytes:
    return issue.issue_crl(CA.certificate, CA.signing_key, serials, now=pki.START, days=days)


def judged(revocation: str, *answers: bytes, lists: Sequence[bytes] = (), offered: bool = False) -> PathVerdict:
    anchors = AnchorSet((CA.certificate,))
    snapshot = Snapshot(users=anchors, crls=crl_index(lists), ocsp=ocsp_index(() if offered else answers))
    return Validator(snapshot).validate(
        LEAF, anchors=anchors, now=pki.NOW, revocation=revocation, ocsp=answers if offered else ()
    )


@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize(
    ("mode", "answers", "state", "revocation"),
    [
        ("hard", [response()], "valid", "good"),
        ("soft", [response()], "valid", "good"),
        ("off", [response(REVOKED)], "valid", "off"),
        ("hard", [response(REVOKED)], "invalid", "revoked"),
        ("soft", [response(REVOKED)], "invalid", "revoked"),
        ("hard", [response(UNKNOWN)], "unknown", "unknown"),
        ("soft", [response(UNKNOWN)], "valid", "unknown"),
        ("hard", [], "unknown", "unknown"),
        ("hard", [response(signer=ACME.signing)], "unknown", "unknown"),
    ],
)
def test_revocation_by_mode(mode, answers, state, revocation, offered):
    verdict = judged(mode, *answers, offered=offered)
    assert (verdict.state, verdict.revocation) == (state, revocation)


@pytest.mark.parametrize(
    ("answer", "listed", "revocation"),
    [
        (response(), crl(LEAF.serial), "revoked"),
        (response(REVOKED), crl(), "revoked"),
        (response(UNKNOWN), crl(), "good"),
        (response(), crl(days=1), "good"),
        (response(until=pki.NOW - HOUR / 2), crl(), "good"),
        (response(UNKNOWN), crl(days=1), "unknown"),
    ],
)
def test_lists_and_answers_together(answer, listed, revocation):
    """Either may know; who says revoked is right."""
    assert judged("hard", answer, lists=[listed]).revocation == revocation


def test_a_responder_on_the_revocation_list_is_not_believed():
    signer = responder()
    answer = response(signer=signer, certificates=[signer.certificate])
    outdated = crl(days=1)
    assert judged("hard", answer, lists=[outdated]).revocation == "good"
    outdated = crl(signer.certificate.serial, days=1)
    assert judged("hard", answer, lists=[outdated]).revocation == "unknown"


def test_a_verdict_does_not_outlive_the_answer():
    anchors = AnchorSet((CA.certificate,))
    minute = timedelta(minutes=1)
    validator = Validator(Snapshot(users=anchors, ocsp=ocsp_index([response(until=pki.NOW + minute)])))
    ask = {"anchors": anchors, "revocation": "hard"}
    assert validator.validate(LEAF, now=pki.NOW, **ask).state == "valid"
    assert validator.validate(LEAF, now=pki.NOW + minute, **ask).state == "valid"
    assert validator.validate(LEAF, now=pki.NOW + 2 * minute, **ask).state == "unknown"


def test_extensions_of_one_answer_count_too():
    """pyca makes none; this one is made by hand and signed by the CA."""
    assert ExtensionOID.OCSP_NO_CHECK.dotted_string == oids.ID_PKIX_OCSP_NOCHECK
    extension = der.sequence(der.oid("1.2.3.4"), der.boolean(True), der.octet_string(der.null()))
    single = _responses(response())
    reader = der.Reader(single)
    strange = der.sequence(bytes(reader.content(der.SEQUENCE)), der.explicit(1, der.sequence(extension)))
    assert len(OcspResponse(_with_answers(single)).answers) == 1
    assert OcspResponse(_with_answers(strange)).answers == ()
