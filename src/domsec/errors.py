"""Every error domsec raises on purpose.

    DomsecError
    ├── MalformedMessage      the octets are not what their type says
    │   └── LimitExceeded     they may be right, but a stranger may not ask for that much work
    ├── Unsupported           right, but nothing here can do it
    ├── SignatureInvalid      the mathematics of one signature, or a rule its attributes must keep, fails
    ├── SigningRefused        the gate of RFC 3183 3.2 did not open; carries the reasons
    ├── ExpansionStopped      a mail list agent may not go on with a message; carries why
    ├── ReceiptRefused        no signed receipt may be made, or one proves nothing; carries why
    ├── DecryptionFailed      says nothing of why, on purpose (RFC 3218, threats T-22)
    ├── CertificateNotFound   nothing usable to encrypt to; carries the trace of what was rejected and why
    ├── KeyUnusable           one of our own keys cannot do what it was asked for
    ├── StoreUnavailable      transient: directory, database or key store does not answer
    └── ConfigurationError    an administrator has to change something; names file and line

An error means we cannot go on; what we can go on from is a flag (`domsec.services.verdict.Flag`).
Texts are one line, lower case, without secrets and without octets of the message that could break a log line.
"""

from __future__ import annotations

from collections.abc import Sequence


class DomsecError(Exception):
    """Root of the tree above."""


class MalformedMessage(DomsecError):
    """The octets are not what their type says."""


class LimitExceeded(MalformedMessage):
    """A bound on what a stranger can send was hit. `limit` is its name in `domsec.limits`."""

    def __init__(self, limit: str, text: str | None = None) -> None:
        super().__init__(text or f"limit {limit} exceeded")
        self.limit = limit


class Unsupported(DomsecError):
    """Well formed, but no code here handles it."""


class SignatureInvalid(DomsecError):
    """A signature does not hold. `code` is the flag code that fits, `crypto.invalid` where none is more exact."""

    def __init__(self, text: str, code: str = "crypto.invalid") -> None:
        super().__init__(text)
        self.code = code


class SigningRefused(DomsecError):
    """The signing gate stays shut. `reasons` are flag codes of the family `gate.*` with their texts."""

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{code}: {text}" for code, text in reasons))
        self.reasons = tuple(reasons)


class ExpansionStopped(DomsecError):
    """A message is not distributed to a list's members; its administrator has to know. `code` is one of `mla.*`,
    `mlh.*`, `label.*`, or `inner_env.unreadable`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class ReceiptRefused(DomsecError):
    """A signed receipt is not made, or not believed. `code` is one of `receipt.*`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class DecryptionFailed(DomsecError):
    """One face for every failure to decrypt."""

    def __init__(self) -> None:
        super().__init__("the message could not be decrypted")


class CertificateNotFound(DomsecError):
    """No certificate may be used to encrypt to `address`. `trace` has a line for each that was rejected.

    `rejected` tells that there were some: somebody can be encrypted to, but not with what is at hand (threats T-20).
    """

    def __init__(self, address: str, trace: Sequence[str] = (), *, rejected: bool = False) -> None:
        super().__init__(f"no usable certificate for {address}")
        self.address = address
        self.trace = tuple(trace)
        self.rejected = rejected


class KeyUnusable(DomsecError):
    """A key of ours cannot do what was asked: wrong type, wrong usage, wrong password."""


class StoreUnavailable(DomsecError):
    """A directory, database or key store does not answer. Trying again later may help."""


class ConfigurationError(DomsecError):
    """Something an administrator wrote is wrong. Each problem is `file:line: what, and what was expected`."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
