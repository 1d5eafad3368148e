"""Whether the header of a message is the one its signers signed (RFC 7508 4.5.2, decisions A-60).

The attribute holds whole fields, those that hops on the way change as well as those they do not; only what it names is
compared. What an encrypting authority may have taken out (`deleted`) or changed (`modified`) outside is compared only
as far as that leaves something to compare: nothing is restored here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from domsec import oids
from domsec.cms.signed_data import SignerInfo
from domsec.errors import MalformedMessage
from domsec.ess.secure_headers import Algorithm, SecureField, SecureHeaderFields
from domsec.mime.fields import Field, Header
from domsec.services.names import printable

_BLANKS = re.compile(r"[ \t]+")
_SHOWN = 60


def differences(verified: Iterable[SignerInfo], header: Header) -> tuple[str, ...]:
    """What differs, in words; `verified` are signers whose signature holds."""
    values = {_value(signer) for signer in verified} - {None}
    if len(values) > 1:
        return ("the signers state different header fields",)
    found: list[str] = []
    for value in values:
        try:
            found += _compared(SecureHeaderFields.read(value or b""), header)
        except MalformedMessage as error:
            found.append(f"the header fields that were signed cannot be read: {error}")
    return tuple(found)


def _value(signer: SignerInfo) -> bytes | None:
    """One value that stands for the attribute; empty, and so unreadable, where there is not just one."""
    stated = signer.signed_attributes.get(oids.ID_AA_SECURE_HEADER_FIELDS) if signer.signed_attributes else ()
    if not stated:
        return None
    return stated[0].values[0] if len(stated) == 1 and len(stated[0].values) == 1 else b""


def _compared(stated: SecureHeaderFields, header: Header) -> Iterator[str]:
    by_name: dict[str, list[SecureField]] = {}
    for field in stated.fields:
        by_name.setdefault(field.name.lower(), []).append(field)
    for name, signed in by_name.items():
        statuses = {field.status for field in signed}
        there = header.all(name)
        if "modified" in statuses or ("deleted" in statuses and not there):
            continue
        # RFC 7508 4.5.1: all of a name are signed, so one more or less is a difference
        wanted = sorted(_canonical(field.value, stated.algorithm) for field in signed)
        actual = sorted(_canonical(_body(field), stated.algorithm) for field in there)
        if wanted != actual:
            yield f"{name}: signed was {_shown(wanted)}, there is {_shown(actual)}"


def _body(field: Field) -> str:
    return field.raw.partition(b":")[2].decode("utf-8", "surrogateescape")


def _canonical(value: str, algorithm: Algorithm) -> str:
    """RFC 6376 3.4.1 and 3.4.2, for a value by itself. The blank that usually follows the colon is no part of it."""
    value = value.removesuffix("\n").removesuffix("\r").removeprefix(" ")
    if algorithm == "simple":
        return value
    return _BLANKS.sub(" ", value.replace("\r\n", "").replace("\n", "")).strip(" ")


def _shown(values: Iterable[str]) -> str:
    return " and ".join(f'"{printable(value[:_SHOWN])}"' for value in values) or "nothing"
