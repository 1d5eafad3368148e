"""RFC 7512."""

from __future__ import annotations

from pathlib import Path

import pytest

from domsec.errors import ConfigurationError
from domsec.stores.pkcs11_uri import MAXIMUM_LENGTH, Pkcs11Uri, parse

LIBRARY = "module-path=/usr/lib/p11.so"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"pkcs11:object=dsa?{LIBRARY}", Pkcs11Uri("/usr/lib/p11.so", object="dsa")),
        (
            f"pkcs11:token=The%20Token;serial=0a1b;manufacturer=Acme;model=M1;id=%01%ff;type=private?{LIBRARY}",
            Pkcs11Uri("/usr/lib/p11.so", "The Token", "0a1b", "Acme", "M1", None, b"\x01\xff"),
        ),
        (
            f"pkcs11:object=d%C3%BCa?pin-source=file:/etc/pin&{LIBRARY}",
            Pkcs11Uri("/usr/lib/p11.so", object="düa", pin_source=Path("/etc/pin")),
        ),
        (
            f"pkcs11:object=a%3Bb%3F?{LIBRARY}&pin-source=/etc/pin",
            Pkcs11Uri("/usr/lib/p11.so", object="a;b?", pin_source=Path("/etc/pin")),
        ),
    ],
)
def test_a_uri_says_which_key(text: str, expected: Pkcs11Uri) -> None:
    assert parse(text) == expected


@pytest.mark.requirement("R3183-6-02")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"pkcs11:object=dsa?{LIBRARY}&pin-value=1234", "a PIN stands in the URI, expected pin-source"),
        (f"pkcs11:object=dsa;pin-value=1234?{LIBRARY}", "a PIN stands in the URI, expected pin-source"),
        ("pkcs11:object=dsa", "no module-path, expected the library of the token"),
        (f"pkcs11:token=acme?{LIBRARY}", "neither object nor id, expected which key"),
        (f"pkcs11:object=dsa;type=cert?{LIBRARY}", "type is not private"),
        (f"pkcs11:objekt=dsa?{LIBRARY}", "attribute 'objekt' is not known, expected token,"),
        (f"pkcs11:object?{LIBRARY}", "attribute 'object' is not known"),
        (f"pkcs11:object=dsa;slot-id=1?{LIBRARY}", "attribute 'slot-id' is not known"),
        (f"pkcs11:object=dsa?{LIBRARY}&x-debug=1", "attribute 'x-debug' is not known"),
        (f"pkcs11:object=dsa;object=dca?{LIBRARY}", "object stands there twice"),
        (f"pkcs11:object=%ff?{LIBRARY}", "object is not UTF-8"),
        (f"pkcs11:object=a%0ab?{LIBRARY}", "object has characters that cannot be printed"),
        ("pkcs12:object=dsa", "expected a pkcs11: URI"),
        (f"pkcs11:object={'a' * MAXIMUM_LENGTH}", "at most"),
    ],
)
def test_what_cannot_be_followed_is_told_without_the_pin(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert complaint in str(caught.value)
    assert "1234" not in str(caught.value)


def test_the_longest_uri_is_read() -> None:
    start = f"pkcs11:object=dsa?{LIBRARY}"
    text = start + "a" * (MAXIMUM_LENGTH - len(start))
    assert parse(text).object == "dsa"


def test_a_key_is_shown_without_library_and_pin() -> None:
    shown = str(parse(f"pkcs11:token=acme;object=dsa;id=%01?{LIBRARY}&pin-source=/etc/pin"))
    assert shown == "pkcs11:token=acme;object=dsa;id=01"
