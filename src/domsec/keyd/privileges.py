"""What the key process gives up before it touches a key."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
from typing import Final

from domsec.errors import ConfigurationError

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWNET: Final = 0x40000000  # unshare(2)


def user_id(name: str) -> int:
    """The id of a user. Raises ConfigurationError."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigurationError(f"there is no user {name}") from None


def leave_network() -> None:
    """Go where there is no network; Unix sockets with a path go on working. For root only. Raises OSError."""
    _checked(_libc().unshare(_CLONE_NEWNET), "unshare")


def become(name: str) -> None:
    """Become another user for good, with the groups of that user. Raises ConfigurationError, OSError."""
    user = user_id(name)
    entry = pwd.getpwuid(user)
    if user == 0:
        raise ConfigurationError("the key process does not run as root, expected another user")
    os.initgroups(name, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(user, user, user)


def hide_memory() -> None:
    """No core dumps, no debugger of the same user, no /proc/PID/mem, and no program with more rights than ours.

    To be called after `become`, which makes a process visible again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = _libc()
    _checked(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def end_with_parent() -> None:
    """Have SIGTERM sent to us when our parent dies, however it does. Raises OSError."""
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0), "prctl")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int, call: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
