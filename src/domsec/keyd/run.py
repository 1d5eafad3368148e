"""`domsec keyd`: from a configuration file to a process that holds its keys.

The socket is made by whoever starts us, root perhaps, for it may have to stand in a folder of root's and to belong to
another group. Keys are opened after that user is given up, as they will be at every reload.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domsec.cms.credential import Credential, WithoutPkcs1v15
from domsec.daemon import announce, listen_unix, set_up_log, takes_time
from domsec.errors import ConfigurationError
from domsec.keyd import privileges, server
from domsec.keyd.answer import OPENS, PURPOSES, SIGNS, Purposes
from domsec.keyd.server import Service
from domsec.policy.check import OpenCredentials, check_keys, role_problems
from domsec.policy.configuration import Configuration
from domsec.policy.kinds import ROLES
from domsec.policy.options import ConfidentialityKey, Key
from domsec.services.proxy import name_problems
from domsec.site import users_of
from domsec.stores import key_process, public_suffixes
from domsec.stores.credentials import open_credential
from domsec.stores.key_protocol import LISTS, USERS, key_digest
from domsec.stores.users import Opened

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
        opened: Opened = {}
        server.serve(listener, load(path, opened), functools.partial(load, path, opened), announce)
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


def load(path: Path, opened: Opened) -> Service:
    """The keys that a configuration file names, opened. Raises ConfigurationError with every problem found.

    `opened` has the users' keys of the last time, which need not be opened again, and those of this time afterwards.
    """
    configuration = Configuration.load(path)
    password = os.environ.get(PASSWORD_VARIABLE)
    once: dict[tuple[str, Path | None, tuple[Path, ...]], Credential] = {}

    def open_one(source: str, password_file: Path | None, certificates: Sequence[Path]) -> tuple[Credential, ...]:
        """Once each: to open an RSA key takes its time."""
        if source.startswith(key_process.SCHEME):
            raise _elsewhere(source)
        key = (source, password_file, tuple(certificates))
        if key not in once:
            once[key] = open_credential(source, password_file, certificates, environment_password=password)
        return (once[key],)

    if isinstance(configuration.users.folder, str):
        raise _elsewhere(configuration.users.folder)
    # thousands of RSA keys take minutes, and nobody is answered meanwhile who is not connected yet
    users = users_of(configuration, password, opened=opened, takes_time=takes_time)
    problems = check_keys(
        configuration,
        open_credentials=open_one,
        now=datetime.now(UTC),
        role_problems=functools.partial(role_problems, is_public_suffix=public_suffixes.load()),
        load_users=lambda: users,
    )
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigurationError(*errors)
    found = [
        *_of_roles(configuration, open_one),
        *_of_lists(configuration, open_one),
        # what its certificate calls an authority is no user's, whoever put it there
        *((USERS, each) for each in users.credentials if not any(name_problems(each.certificate))),
    ]
    if not found:
        raise ConfigurationError(f"{configuration.path}: no key in it, expected [keys.signing] or another role")
    set_up_log(configuration.log.level, configuration.log.format)
    for problem in problems:
        announce(f"warning: {problem}")
    keys = {(name, key_digest(credential.certificate)): credential for name, credential in found}
    return Service(keys, _clients(configuration))


def _elsewhere(source: str) -> ConfigurationError:
    return ConfigurationError(f"{source} in the key process's own configuration, expected where the key is")


def _of_roles(configuration: Configuration, open_one: OpenCredentials) -> Iterator[tuple[str, Credential]]:
    for role in ROLES:
        options: Key | None = getattr(configuration.keys, role)
        if options is None:
            continue
        previous = options.previous if isinstance(options, ConfidentialityKey) else ()
        for source in (*options.credential, *previous):
            for credential in open_one(source, options.password_file, options.certificates):
                refused = isinstance(options, ConfidentialityKey) and not options.pkcs1v15
                yield role, WithoutPkcs1v15(credential) if refused else credential


def _of_lists(configuration: Configuration, open_one: OpenCredentials) -> Iterator[tuple[str, Credential]]:
    for options in configuration.lists:
        for source in (options.credential, *options.previous):
            for credential in open_one(source, options.password_file, options.certificates):
                yield LISTS, credential


def _clients(configuration: Configuration) -> dict[int, Purposes]:
    """What each user may ask for: a gateway needs no list's key, and who serves lists none of the domain's."""
    everything = {**PURPOSES, USERS: SIGNS | OPENS if configuration.users.decrypt else SIGNS}
    of_lists = {LISTS: everything[LISTS]}
    of_gateways = {name: acts for name, acts in everything.items() if name != LISTS}
    found: dict[int, Purposes] = {}
    for names, purposes in (
        (configuration.keyd.clients, of_gateways),
        (configuration.keyd.list_clients, of_lists),
    ):
        for user in map(privileges.user_id, names):
            found[user] = {**found.get(user, {}), **purposes}
    return found | {0: everything, os.geteuid(): everything}
