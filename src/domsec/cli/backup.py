"""`domsec backup` and `domsec restore`: the whole state of an installation in one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from domsec import __version__
from domsec.cli import console
from domsec.cli.console import Exit
from domsec.cli.options import FILE, Given, configuration_file
from domsec.cli.reading import read_octets
from domsec.errors import ConfigurationError
from domsec.octets import Octets, chunks, start

if TYPE_CHECKING:
    from domsec.policy.configuration import Configuration

_SEQUENCE: Final = b"\x30"  # with which CMS begins; a tar archive begins with a name
_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--config", type=FILE, metavar="FILE", help="The configuration file.")
@click.option("--encrypt-to", multiple=True, type=FILE, metavar="CERT", help="Encrypt to this certificate.")
@click.option("--without-keys", is_flag=True, help="Leave private keys and their passwords out.")
@click.option("--without-store", is_flag=True, help="Files only: a key process has no store.")
@click.option("-o", "--output", required=True, type=_OUTPUT, metavar="FILE", help="Where to write it; mode 0600.")
def backup(
    config: Path | None, encrypt_to: tuple[Path, ...], output: Path, *, without_keys: bool, without_store: bool
) -> int:
    """Save the configuration, what it names, and the store, while the gateway goes on.

    The result is a tar archive, or CMS with such an archive in it, which `openssl cms -decrypt -inform DER` opens too.
    It has private keys in it, unless they are left out or in a token.
    """
    from domsec.policy.configuration import Configuration
    from domsec.stores.backup import save

    path = configuration_file(config)
    configuration = Configuration.load(path)
    if not encrypt_to and not without_keys:
        console.warning("the backup has private keys in it and is not encrypted: --encrypt-to, or --without-keys")
    archive = save(
        path,
        _named(configuration, keys=not without_keys),
        None if without_store else configuration.store.url,
        now=datetime.now(UTC),
        version=__version__,
    )
    _write(_encrypted(archive, encrypt_to) if encrypt_to else archive, output)
    console.note(f"{output} is written")
    return Exit.DONE


@click.command()
@click.argument("file", type=FILE)
@click.option("--credential", multiple=True, metavar="FILE", help="Private key that opens it.")
@click.option("--password-file", type=FILE, metavar="FILE", help="Password of that key, in its first line.")
@click.option("--root", type=_FOLDER, default="/", show_default=True, metavar="DIR", help="Put files below DIR.")
@click.option("--store", "store_url", metavar="URL", help="Put the store there; default as the configuration says.")
@click.option("--overwrite", is_flag=True, help="Replace files and a store that are there.")
def restore(
    file: Path,
    credential: tuple[str, ...],
    password_file: Path | None,
    root: Path,
    store_url: str | None,
    *,
    overwrite: bool,
) -> int:
    """Put a backup back: files with their modes and owners, and the store.

    Everything is checked before anything is written. Held messages that were about to be delivered wait for somebody
    to say again that they may go, since they may have been delivered after it was made. Stop the gateway before.
    """
    from domsec.stores.backup import restore as put_back

    octets = read_octets(file)
    if start(octets, 1) == _SEQUENCE:
        octets = _opened(octets, Given(credential=credential, password_file=password_file))
    contents = put_back(octets, root, store_url, overwrite=overwrite)
    what = f"{len(contents.files)} files" + (" and the store" if contents.store else "")
    console.note(f"{what}, saved at {contents.made_at}, are back")
    console.note(f"look at it: domsec config check --config {contents.configuration}")
    return Exit.DONE


def _named(configuration: Configuration, *, keys: bool) -> Iterator[Path]:
    """Every file and folder that the configuration names and that is there; the socket of a key process is neither."""
    from domsec.policy.configuration import files_of

    for path, secret in files_of(configuration):
        if path.exists() and not path.is_socket() and path != configuration.path and (keys or not secret):
            yield path


def _encrypted(archive: Octets, certificates: tuple[Path, ...]) -> Octets:
    from domsec.cms import enveloped_data
    from domsec.stores.certificates import certificates_in
    from domsec.stores.files import read_file

    found = [c for path in certificates for c in certificates_in(read_file(path), str(path))[:1]]
    return enveloped_data.encrypt(archive, found)


def _opened(octets: Octets, given: Given) -> Octets:
    from domsec.cli.reading import UNCONFIGURED
    from domsec.cli.world import open_keyring
    from domsec.cms import content_info, enveloped_data

    outer = content_info.parse(octets, UNCONFIGURED)
    enveloped = enveloped_data.parse_enveloped(outer.content_type, outer.content, UNCONFIGURED)
    return enveloped_data.decrypt(enveloped, open_keyring(given), UNCONFIGURED).plaintext


def _write(octets: Octets, output: Path) -> None:
    """With nobody else ever able to read it, and on the disk when this ends."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            for chunk in chunks(octets):
                file.write(chunk)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise ConfigurationError(f"{output}: cannot be written: {error.strerror}") from None
