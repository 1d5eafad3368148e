"""The path algorithm of RFC 5280 6.1, and 6.3 where CRLs are not simple, done by pyhanko-certvalidator.

The only module that knows that library. It is handed one complete path whose signatures have been checked, never
fetches, never looks for anything itself, and is imported on first use: starting it costs more than all the rest of a
short command. Being fed by strangers, whatever it raises is taken as "no".
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from domsec.cms.certificates import Certificate
from domsec.trust.crl import Crl
from domsec.trust.names import escaped

if TYPE_CHECKING:
    from asn1crypto import crl as asn1_crl
    from asn1crypto import x509 as asn1
    from pyhanko_certvalidator.authority import CertTrustAnchor
    from pyhanko_certvalidator.context import ValidationContext
    from pyhanko_certvalidator.path import ValidationPath
    from pyhanko_certvalidator.policy_decl import PKIXValidationParams

ANY_POLICY: Final = "2.5.29.32.0"
MAX_TEXT: Final = 300
_PREAMBLE: Final = "The path could not be validated because "
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Policies:
    """The inputs (c) to (f) of RFC 5280 6.1.1. Policies are dotted OIDs."""

    accepted: frozenset[str] = frozenset({ANY_POLICY})
    require_explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False


NO_POLICIES: Final = Policies()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one path. `text` says why it is not "valid"."""

    state: Literal["valid", "invalid", "revoked", "unknown"]
    text: str = ""


class PathAlgorithm:
    """RFC 5280 6.1 for complete paths. Keeps what it parsed of CA certificates and CRLs. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # what asn1crypto has parsed it parses further while it is read
        self._issuers = functools.lru_cache(maxsize=256)(_parsed)
        self._lists = functools.lru_cache(maxsize=64)(_parsed_crl)

    def check(self, path: Sequence[Certificate], now: datetime, policies: Policies) -> Outcome:
        """Everything but revocation. `path` goes from the certificate in question to the anchor."""
        with self._lock:
            return self._run(path, now, policies, None, ())

    def check_revocation(
        self, path: Sequence[Certificate], now: datetime, crls: Sequence[Crl], issuers: Sequence[Certificate]
    ) -> Outcome:
        """Whether these CRLs revoke the first certificate of a path that `check` found valid; "unknown" if none tells.

        The certificates above are taken as good. `issuers` are certificates that may have signed a CRL.
        """
        with self._lock:
            return self._run(path, now, NO_POLICIES, crls, issuers)

    def _run(
        self,
        path: Sequence[Certificate],
        now: datetime,
        policies: Policies,
        crls: Sequence[Crl] | None,
        issuers: Sequence[Certificate],
    ) -> Outcome:
        _quiet()
        from pyhanko_certvalidator import errors
        from pyhanko_certvalidator.validate import async_validate_path

        try:
            leaf, *between, anchor = path
            target = _parsed(leaf.der)
            topmost, *lower = _without_idle_constraints(
                [self._issuers(ca.der) for ca in (anchor, *reversed(between))], target
            )
            root = _anchor(topmost)
            validation_path = _path(root, lower, target)
            context = self._context(root, validation_path, between, now, crls, issuers)
            parameters = _parameters(topmost, policies)
            _driven(async_validate_path(context, validation_path, parameters))
        except errors.RevokedError as error:
            return Outcome("revoked", _text(error))
        except errors.InsufficientRevinfoError as error:
            return Outcome("unknown", _text(error))
        except errors.ValidationError as error:
            return Outcome("invalid", _text(error))
        except Exception as error:  # a parser fed by strangers; closed, whatever it raises
            return Outcome("invalid", f"the path validator cannot process it ({type(error).__name__})")
        return Outcome("valid")

    def _context(
        self,
        root: CertTrustAnchor,
        path: ValidationPath,
        above: Sequence[Certificate],
        now: datetime,
        crls: Sequence[Crl] | None,
        issuers: Sequence[Certificate],
    ) -> ValidationContext:
        from pyhanko_certvalidator.context import ValidationContext
        from pyhanko_certvalidator.ltv.poe import POEManager
        from pyhanko_certvalidator.policy_decl import (
            NO_REVOCATION,
            AcceptAllAlgorithms,
            CertRevTrustPolicy,
            NonRevokedStatusAssertion,
            RevocationCheckingPolicy,
            RevocationCheckingRule,
        )
        from pyhanko_certvalidator.registry import CertificateRegistry, SimpleTrustManager
        from pyhanko_certvalidator.revinfo.archival import CRLContainer
        from pyhanko_certvalidator.revinfo.manager import RevinfoManager

        needed = RevocationCheckingPolicy(RevocationCheckingRule.CRL_REQUIRED, RevocationCheckingRule.CRL_REQUIRED)
        registry = CertificateRegistry()
        if crls is not None:  # who may have signed them; to validate the path itself nothing is looked for
            registry.register_multiple(path.iter_certs(include_root=False))
            registry.register_multiple(self._issuers(issuer.der) for issuer in issuers)
        # the manager must be the one with our anchor: the default asks the operating system for its own
        trust = SimpleTrustManager.build([root])
        poe = POEManager()
        return ValidationContext(
            trust_manager=trust,
            certificate_registry=registry,
            poe_manager=poe,
            revinfo_manager=RevinfoManager(
                certificate_registry=registry,
                poe_manager=poe,
                crls=[CRLContainer(self._lists(crl.der)) for crl in crls or ()],
                ocsps=[],
                # our digests: asking asn1crypto for one spoils what it says of a certificate with unique identifiers
                assertions=[NonRevokedStatusAssertion(bytes.fromhex(each.sha256), now) for each in above],
            ),
            moment=now,
            allow_fetching=False,
            time_tolerance=timedelta(0),
            revinfo_policy=CertRevTrustPolicy(NO_REVOCATION if crls is None else needed),
            # the floor is ours (domsec.trust.usage, signature), and has been applied
            algorithm_usage_policy=AcceptAllAlgorithms(),
        )


def _driven(coroutine: Coroutine[object, None, _Result]) -> _Result:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("the path validator waits for something, but nothing is fetched here")


@functools.cache
def _quiet() -> None:
    """Keep the library's tracebacks of failed CRLs, and the strangers' names in them, out of our log."""
    logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL + 1)


def _parsed(der: bytes) -> asn1.Certificate:
    from asn1crypto import x509 as asn1

    parsed: asn1.Certificate = asn1.Certificate.load(der, strict=True)  # type: ignore[no-untyped-call]
    stated = parsed.subject_alt_name_value
    if stated is not None and any(name.name == "x400_address" for name in stated):
        # asn1crypto 1.5.1 fails on the country in an X.400 address. Who constrains such addresses is refused anyway.
        kept = [name for name in stated if name.name != "x400_address"]
        parsed._subject_alt_name_value = asn1.GeneralNames(kept)  # type: ignore[assignment, no-untyped-call]
    return parsed


def _without_idle_constraints(issuers: Sequence[asn1.Certificate], target: asn1.Certificate) -> list[asn1.Certificate]:
    """The CAs of a path without their constraints on otherName, if no certificate of the path has such a name.

    They constrain nothing then (RFC 5280 4.2.1.10), but the library fails on them, and CAs of Microsoft's have them.
    """
    if any(_has_other_name(certificate) for certificate in (*issuers, target)):
        return list(issuers)
    return [_without_other_name_constraints(issuer) for issuer in issuers]


def _has_other_name(certificate: asn1.Certificate) -> bool:
    stated = certificate.subject_alt_name_value
    return stated is not None and any(name.name == "other_name" for name in stated)


def _without_other_name_constraints(issuer: asn1.Certificate) -> asn1.Certificate:
    from asn1crypto import x509 as asn1

    constraints = issuer.name_constraints_value
    if constraints is None:
        return issuer
    fields = ("permitted_subtrees", "excluded_subtrees")
    kept = {field: [each for each in constraints[field] if each["base"].name != "other_name"] for field in fields}
    if all(len(kept[field]) == len(constraints[field]) for field in fields):
        return issuer
    changed = _parsed(issuer.dump())  # type: ignore[no-untyped-call]
    _ = changed.name_constraints_value  # or the library would read them from the extensions later
    changed._name_constraints_value = asn1.NameConstraints(  # type: ignore[assignment, no-untyped-call]
        {field: subtrees for field, subtrees in kept.items() if subtrees}
    )
    return changed


def _parsed_crl(der: bytes) -> asn1_crl.CertificateList:
    from asn1crypto import crl as asn1_crl

    parsed: asn1_crl.CertificateList = asn1_crl.CertificateList.load(der, strict=True)  # type: ignore[no-untyped-call]
    return parsed


def _anchor(certificate: asn1.Certificate) -> CertTrustAnchor:
    """An anchor whose own path length and validity count (RFC 5937 3.2)."""
    from pyhanko_certvalidator.authority import CertTrustAnchor, TrustQualifiers

    return CertTrustAnchor(
        certificate,
        TrustQualifiers(
            # both, or the library computes with a None
            max_path_length=certificate.max_path_length,
            max_aa_path_length=certificate.max_path_length,
            valid_from=certificate.not_valid_before,
            valid_until=certificate.not_valid_after,
        ),
    )


def _parameters(anchor: asn1.Certificate, policies: Policies) -> PKIXValidationParams:
    """The inputs of RFC 5280 6.1.1, the anchor's own name constraints among them (RFC 5937 3.2).

    Not as qualifiers of the anchor, as the library means them to be: merging two sets of parameters, one of which
    accepts any policy, version 0.33 accepts any.
    """
    from pyhanko_certvalidator import PKIXValidationParams
    from pyhanko_certvalidator.name_trees import (
        default_excluded_subtrees,
        default_permitted_subtrees,
        process_general_subtrees,
    )

    permitted, excluded = default_permitted_subtrees(), default_excluded_subtrees()
    constraints = anchor.name_constraints_value
    if constraints is not None:
        for subtrees, field in ((permitted, "permitted_subtrees"), (excluded, "excluded_subtrees")):
            if len(constraints[field]):
                subtrees.update(process_general_subtrees(constraints[field]))
    return PKIXValidationParams(
        user_initial_policy_set=frozenset(
            "any_policy" if policy == ANY_POLICY else policy for policy in policies.accepted
        ),
        initial_policy_mapping_inhibit=policies.inhibit_mapping,
        # who names policies wants one of them; RFC 5280 alone would be content with none
        initial_explicit_policy=policies.require_explicit or ANY_POLICY not in policies.accepted,
        initial_any_policy_inhibit=policies.inhibit_any,
        initial_permitted_subtrees=permitted,
        initial_excluded_subtrees=excluded,
    )


def _path(root: CertTrustAnchor, between: Sequence[asn1.Certificate], leaf: asn1.Certificate) -> ValidationPath:
    from pyhanko_certvalidator.path import ValidationPath

    return ValidationPath(root, between, leaf)


def _text(error: Exception) -> str:
    text = str(error.args[0] if error.args else error).removeprefix(_PREAMBLE).rstrip(".")
    return escaped(text)[:MAX_TEXT]
