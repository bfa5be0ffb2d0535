"""Where a project is, and where its daemon listens; light enough for a client's first 0.2 seconds.

Reads only `[daemon]` of `deltakeep.toml`, without validating the rest: a client has to reach a daemon whose project
is broken at this moment.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.errors import DefinitionError, DeltakeepError, Problem

PROJECT_FILE = "deltakeep.toml"
DEFAULT_SOCKET = "state/deltakeep.sock"
DEFAULT_LISTEN = "127.0.0.1:9187"
STARTING_TABLES = ("daemon", "engine", "notifications", "lineage", "tracing")
SOCKET_PATH_MAX = 100
"""Bytes of a path that surely fit into the 108 of `sockaddr_un`."""


def find_project(start: Path, *, given: bool) -> Path:
    """The folder with `deltakeep.toml`: `start` itself if it was given, else the nearest upwards.

    Raises `DeltakeepError` with code `project_not_found` and exit code 78.
    """
    here = start.resolve()
    candidates = [here] if given else [here, *here.parents]
    for folder in candidates:
        if (folder / PROJECT_FILE).is_file():
            return folder
    looked = f'"{here}"' if given else f'"{here}" and the folders above it'
    raise ProjectNotFound(
        "project_not_found",
        f"there is no {PROJECT_FILE} in {looked}",
        hint="name the project's folder with -C, or make a project with `daemonctl init DIR`",
    )


class ProjectNotFound(DeltakeepError):
    """No project here."""

    exit_code_of_class = 78


def daemon_settings(root: Path) -> dict[str, Any]:
    """The `[daemon]` table as written, or empty; raises `DefinitionError` for a file that is not TOML."""
    return settings_at_start(root)["daemon"]


def settings_at_start(root: Path) -> dict[str, dict[str, Any]]:
    """The tables that only a start reads, `[daemon]`, `[engine]` and those of integrations, as written."""
    file = root / PROJECT_FILE
    try:
        with file.open("rb") as stream:
            parsed = tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        found, _, place = str(error).partition(" (at line ")
        line = place.partition(",")[0]
        what = f"not valid TOML: {found}"
        expected = "TOML, with strings in quotes"
        raise DefinitionError([Problem(PROJECT_FILE, int(line) if line.isdigit() else None, what, expected)]) from None
    tables = {name: parsed.get(name, {}) for name in STARTING_TABLES}
    return {name: table if isinstance(table, dict) else {} for name, table in tables.items()}


def socket_path(root: Path) -> Path:
    """Where the daemon of this project listens for control requests."""
    given = daemon_settings(root).get("socket", DEFAULT_SOCKET)
    return root / (given if isinstance(given, str) else DEFAULT_SOCKET)


@contextmanager
def reachable_address(path: Path) -> Iterator[str]:
    """An address for `bind` and `connect` that fits into 108 bytes, however deep the project lies.

    Long paths go through a descriptor of the folder in `/proc/self/fd`.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path, timeout_s: float | None) -> socket.socket:
    """A connected stream socket; raises the `OSError` of `connect`."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        stream.settimeout(timeout_s)
        with reachable_address(path) as address:
            stream.connect(address)
    except OSError:
        stream.close()
        raise
    return stream
