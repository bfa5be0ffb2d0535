"""Where tables are: absolute uris, the options of their stores, and whether two places overlap.

A place is compared by its normalised uri; a local path and its `file://` uri are the same place.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from registry.credentials import PREFIX, CredentialMissing, read_credential
from registry.dataset import TableRef
from registry.secrets import remember, remember_options
from registry.toml_document import Section, Unexpected, text, text_map

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ENVIRONMENT: Final = "env:"


def place(value: object) -> str:
    """Take a path, or a uri that carries no password and no signature: a uri is shown everywhere."""
    found = text(value)
    if not _SCHEME.match(found) or found.startswith("file://"):
        return found
    parts = urlsplit(found)
    secrets = [part for part in (parts.password, parts.query) if part]
    if not secrets:
        return found
    remember(secrets)
    raise Unexpected(
        "a uri without password and query",
        'write such values as storage_options = { KEY = "env:NAME" }: a uri is shown everywhere',
    )


def absolute_uri(root: Path, uri: str) -> str:
    """Give the uri of a place that is written as a uri, or as a path that counts from the project's root.

    >>> absolute_uri(Path("/p"), "lake/../lake/orders/")
    'file:///p/lake/orders'
    >>> absolute_uri(Path("/p"), "s3://bucket/orders/")
    's3://bucket/orders'
    """
    if uri.startswith("file://"):
        uri = unquote(urlsplit(uri).path)
    if _SCHEME.match(uri):
        return uri.rstrip("/")
    return Path(os.path.normpath(root / Path(uri).expanduser())).as_uri()


def join_uri(uri: str, name: str) -> str:
    """Give the uri of a folder beneath another."""
    return f"{uri.rstrip('/')}/{name}"


def local_path(uri: str) -> Path | None:
    """Give the path of a local uri, or None for another store."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class TakenPlaces:
    """Places with what is there; finds what a new place overlaps with, however many there are.

    Symbolic links of local paths are followed.

    >>> places = TakenPlaces()
    >>> places.take("s3://b/t", "a table")
    >>> places.overlap("s3://b/t/x"), places.overlap("s3://b"), places.overlap("s3://b/t2")
    (('inside', 'a table'), ('around', 'a table'), None)
    """

    def __init__(self) -> None:
        self._at: dict[str, str] = {}
        self._beneath: dict[str, str] = {}

    def take(self, uri: str, what: str) -> None:
        """Note that a place is taken; who was there first stays."""
        real = _real(uri)
        self._at.setdefault(real, what)
        for folder in _folders_above(real):
            self._beneath.setdefault(folder, what)

    def overlap(self, uri: str) -> tuple[Literal["at", "inside", "around"], str] | None:
        """Say how a place overlaps with one that is taken, and with what."""
        real = _real(uri)
        if real in self._at:
            return "at", self._at[real]
        inside = next((self._at[folder] for folder in _folders_above(real) if folder in self._at), None)
        if inside is not None:
            return "inside", inside
        return ("around", self._beneath[real]) if real in self._beneath else None


def _folders_above(uri: str) -> Iterator[str]:
    """Give the folders above a place, the nearest first, down to the bucket or the root."""
    folder, _, _ = uri.rpartition("/")
    while folder and not folder.endswith(("/", ":")):
        yield folder
        folder, _, _ = folder.rpartition("/")


def _real(uri: str) -> str:
    path = local_path(uri)
    return uri if path is None else Path(os.path.realpath(path)).as_uri().rstrip("/")


def storage_options(section: Section, environment: Mapping[str, str]) -> dict[str, str]:
    """Read `storage_options`; `env:NAME` stands for an environment variable, `credential:NAME` for a secret's file.

    No value is ever shown; a variable that is not set, and a credential that is not there, is a problem.
    """

    def resolve(value: object) -> dict[str, str]:
        found = text_map(value)
        resolved = [key for key, one in found.items() if one.startswith((_ENVIRONMENT, PREFIX))]
        for key, one in found.items():
            found[key] = environment_value(one, environment, f' for the option "{key}"')
        remember_options(found, resolved)
        return found

    return section.take("storage_options", resolve, {})


def environment_value(text: str, environment: Mapping[str, str], what_for: str = "") -> str:
    """Give what a text stands for: the variable of `env:NAME`, the secret of `credential:NAME`, else itself.

    A variable that is not set and a secret that was not passed are problems.
    """
    if text.startswith(PREFIX):
        try:
            return read_credential(text.removeprefix(PREFIX), environment)
        except CredentialMissing as error:
            raise Unexpected(f"{error.expected}{what_for}", error.hint) from error
    if not text.startswith(_ENVIRONMENT):
        return text
    variable = text.removeprefix(_ENVIRONMENT)
    if variable not in environment:
        raise Unexpected(
            f'the environment variable "{variable}"{what_for}',
            f"set {variable} where the daemon and the commands run",
        )
    return environment[variable]


def table_ref(root: Path, uri: str, options: Mapping[str, str]) -> TableRef:
    """Give the reference of a table that is written in a project."""
    return TableRef(uri=absolute_uri(root, uri), options=dict(options))
