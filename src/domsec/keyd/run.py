"""`domsec keyd`: from a configuration file to a process that holds its keys.

The socket is made by whoever starts us, root perhaps, for it may have to stand in a folder of root's and to belong to
another group. Keys are opened after that user is given up, as they will be at every reload.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domsec.cms.credential import Credential, WithoutPkcs1v15
from domsec.daemon import announce, listen_unix, set_up_log
from domsec.errors import ConfigurationError
from domsec.keyd import privileges, server
from domsec.keyd.server import Service
from domsec.policy.check import check_keys, role_problems
from domsec.policy.configuration import Configuration
from domsec.policy.kinds import ROLES
from domsec.policy.options import ConfidentialityKey, Key
from domsec.stores import key_process, public_suffixes
from domsec.stores.credentials import open_credential
from domsec.stores.key_protocol import key_digest

PASSWORD_VARIABLE: Final = "DOMSEC_PASSWORD"


def run(path: Path, user: str | None = None) -> int:
    """Run the key process of a configuration file until it is told to stop; the exit status.

    `user` is whom to become where root starts it. Raises ConfigurationError with every problem found.
    """
    path = path.absolute()
    if os.geteuid() == 0 and user is None:
        raise ConfigurationError("the key process does not run as root, expected --user")
    if os.geteuid() != 0 and user is not None:
        raise ConfigurationError("only root can become another user, expected no --user")
    options = Configuration.load(path).keyd
    listener = _listen(options.socket, options.socket_mode, options.group)
    try:
        _protect(user, network=options.network)
        server.serve(listener, load(path), functools.partial(load, path), announce)
    finally:
        listener.close()
        with contextlib.suppress(OSError):  # in a folder of root's it stays, and is replaced at the next start
            os.unlink(options.socket)
    return 0


def _listen(path: Path, mode: int, group: str | None) -> socket.socket:
    try:
        return listen_unix(str(path), mode, group=group)
    except (OSError, LookupError) as problem:
        raise ConfigurationError(f"cannot listen on {path}: {problem}") from None


def _protect(user: str | None, *, network: bool) -> None:
    try:
        if user is not None:
            if not network:
                privileges.leave_network()
            privileges.become(user)
        privileges.hide_memory()
    except OSError as problem:
        raise ConfigurationError(f"the key process cannot be protected: {problem}") from None


def load(path: Path) -> Service:
    """The keys that a configuration file names, opened. Raises ConfigurationError with every problem found."""
    configuration = Configuration.load(path)
    password = os.environ.get(PASSWORD_VARIABLE)
    opened: dict[tuple[str, Path | None, tuple[Path, ...]], Credential] = {}

    def open_one(source: str, password_file: Path | None, certificates: Sequence[Path]) -> tuple[Credential, ...]:
        """Once each: to open an RSA key takes its time."""
        if source.startswith(key_process.SCHEME):
            raise ConfigurationError(f"{source} in the key process's own configuration, expected where the key is")
        key = (source, password_file, tuple(certificates))
        if key not in opened:
            opened[key] = open_credential(source, password_file, certificates, environment_password=password)
        return (opened[key],)

    problems = check_keys(
        configuration,
        open_credentials=open_one,
        now=datetime.now(UTC),
        role_problems=functools.partial(role_problems, is_public_suffix=public_suffixes.load()),
    )
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    keys: dict[tuple[str, bytes], Credential] = {}
    for role in ROLES:
        options: Key | None = getattr(configuration.keys, role)
        if options is None or errors:
            continue
        previous = options.previous if isinstance(options, ConfidentialityKey) else ()
        for source in (*options.credential, *previous):
            (credential,) = open_one(source, options.password_file, options.certificates)
            if isinstance(options, ConfidentialityKey) and not options.pkcs1v15:
                credential = WithoutPkcs1v15(credential)
            keys[role, key_digest(credential.certificate)] = credential
    if not keys and not errors:
        errors.append(f"{configuration.path}: no key in it, expected [keys.signing] or another role")
    if errors:
        raise ConfigurationError(*errors)
    set_up_log(configuration.log.level, configuration.log.format)
    for problem in problems:
        announce(f"warning: {problem}")
    named = (privileges.user_id(name) for name in configuration.keyd.clients)
    return Service(keys, frozenset({0, os.geteuid(), *named}))
