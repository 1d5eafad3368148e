"""`pkcs11:` URIs (RFC 7512): which private key, on which token, behind which library, and where its PIN is.

    pkcs11:token=acme;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/domsec/pin

Attributes that nothing here looks at are refused, since leaving one out could choose another key than was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from domsec.errors import ConfigurationError

SCHEME: Final = "pkcs11:"
MAXIMUM_LENGTH: Final = 4096

_PATH: Final = ("token", "serial", "manufacturer", "model", "object", "id", "type")
_QUERY: Final = ("module-path", "pin-source")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """What a URI says; None is anything. `serial` and the other names are those of the token."""

    module_path: str
    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None
    pin_source: Path | None = None

    def __str__(self) -> str:
        """The key, shortly, as errors name it."""
        named = [f"id={self.id.hex()}"] if self.id is not None else []
        shown = [f"{name}={value}" for name in ("token", "serial", "object") if (value := getattr(self, name))]
        return SCHEME + ";".join([*shown, *named])


def parse(text: str) -> Pkcs11Uri:
    """Read a URI. Raises ConfigurationError, which repeats nothing of a PIN that stands in it."""
    if not text.startswith(SCHEME) or len(text) > MAXIMUM_LENGTH:
        raise ConfigurationError(f"expected a {SCHEME} URI of at most {MAXIMUM_LENGTH} characters")
    path, _, query = text.removeprefix(SCHEME).partition("?")
    values = dict(_attributes(path, ";", _PATH)) | dict(_attributes(query, "&", _QUERY))
    if values.pop("type", b"private") != b"private":
        raise ConfigurationError("pkcs11: type is not private, expected a private key")
    if "object" not in values and "id" not in values:
        raise ConfigurationError("pkcs11: neither object nor id, expected which key")
    module = _text(values, "module-path")
    if not module:
        raise ConfigurationError("pkcs11: no module-path, expected the library of the token")
    source = _text(values, "pin-source")
    return Pkcs11Uri(
        module_path=module,
        token=_text(values, "token"),
        serial=_text(values, "serial"),
        manufacturer=_text(values, "manufacturer"),
        model=_text(values, "model"),
        object=_text(values, "object"),
        id=values.get("id"),
        pin_source=None if source is None else Path(source.removeprefix("file:")),
    )


def _attributes(part: str, separator: str, known: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for attribute in part.split(separator) if part else ():
        name, equals, value = attribute.partition("=")
        if name == "pin-value":
            raise ConfigurationError("pkcs11: a PIN stands in the URI, expected pin-source with a file that has it")
        if name not in known or not equals:
            raise ConfigurationError(f"pkcs11: attribute {name[:40]!r} is not known, expected {', '.join(known)}")
        if name in seen:
            raise ConfigurationError(f"pkcs11: {name} stands there twice")
        seen.add(name)
        yield name, unquote_to_bytes(value)


def _text(values: dict[str, bytes], name: str) -> str | None:
    if name not in values:
        return None
    try:
        text = values[name].decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"pkcs11: {name} is not UTF-8") from None
    if not text.isprintable():
        raise ConfigurationError(f"pkcs11: {name} has characters that cannot be printed")
    return text
