"""The support bundle: what somebody who helps needs to see, and nothing that they must not; an edge.

Everything is gathered in memory first, so that it can be listed before a byte is written; a part that cannot be had
says why in its place.
Invariant: no data row, no value of a store option, no secret that this process was given.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from daemon.build import installed_versions
from daemon.client import DaemonClient, NoDaemon
from daemon.clock import Clock, timestamp_text
from daemon.diagnosis import stacks_text
from daemon.doctor import examine
from daemon.failure import Failed, Failure, failure_of
from daemon.log import hide_secrets
from daemon.machine import machine_facts
from daemon.place import PROJECT_FILE, daemon_settings, socket_path
from registry.errors import DeltakeepError
from registry.formats import known_formats
from registry.location import local_path
from registry.names import name_problem
from registry.project import FUNCTIONS_FOLDER, VIEWS_FOLDER, load_project
from registry.secrets import HIDDEN, masked, masked_values

FOLDER = "deltakeep-support"
HISTORY_ROWS = 200
PLAN_ROWS = 1_000
DEFINITION_FILES_MAX = 2_000
DEFINITION_BYTES_MAX = 200_000
DAEMON_PATIENCE_S = 20.0
PLANS_SQL = (
    "SELECT view_name, plan_fingerprint, content_key, compile_key, plan_encoding, engine_version, udf_snapshot_hash,"
    " udf_compatibility_ok, recorded_ms FROM deltakeep.plan_artifacts ORDER BY recorded_ms DESC"
)

Ask = Callable[[str, Mapping[str, Any]], Any]


class BundleExists(DeltakeepError):
    """The file is there already."""

    exit_code_of_class = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the bundle; `missing` says why it is not there."""

    name: str
    what: str
    data: bytes = b""
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        """What is listed."""
        return {"name": self.name, "bytes": len(self.data), "what": self.what, "missing": self.missing or None}


def gather(root: Path, clock: Clock, *, offline: bool = False) -> tuple[Part, ...]:
    """Everything that the bundle will hold, redacted; the daemon is asked where one answers."""
    source = _Source(root, clock, offline=offline)
    parts = list(_parts(root, clock, source))
    return (*parts, _contents(parts, clock))


def require_free(file: Path) -> None:
    """Raise `BundleExists` where a file would be overwritten; asked before anything is gathered."""
    if file.exists():
        raise BundleExists("already_there", f'"{file}" exists already', "name another file")


def write_bundle(file: Path, parts: tuple[Part, ...], clock: Clock) -> int:
    """Write the archive, readable by its owner only; gives its size.  Raises `BundleExists` rather than overwrite."""
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for part in parts:
            if part.missing:
                continue
            entry = tarfile.TarInfo(f"{FOLDER}/{part.name}")
            entry.size, entry.mtime, entry.mode = len(part.data), clock.now_ms() // 1000, 0o600
            archive.addfile(entry, io.BytesIO(part.data))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BundleExists("already_there", f'"{file}" exists already', "name another file") from None
    with os.fdopen(descriptor, "wb") as stream:
        return stream.write(raw.getvalue())


def default_file(root: Path, clock: Clock) -> Path:
    """The name that a bundle gets where none was given, in the current folder."""
    name = root.name if name_problem(root.name) is None else "project"
    moment = timestamp_text(clock.now_ms())[:19].replace("-", "").replace(":", "")
    return Path(f"{FOLDER}-{name}-{moment}.tar.gz")


# --- the parts --------------------------------------------------------------------------------------------------------


def _parts(root: Path, clock: Clock, source: _Source) -> Iterator[Part]:
    yield _part("versions.json", "versions of product, Python, packages and formats", _versions)
    yield _part(
        "machine.json", "memory, processors, disks, control group, limits", lambda: machine_facts(_places(root))
    )
    yield _part("project.toml", "the project file, values of options hidden, without comments", lambda: _project(root))
    yield from _definitions(root)
    yield _part("doctor.json", "what `daemonctl doctor` finds", lambda: [one.to_json() for one in examine(root, clock)])
    diagnostics = source.diagnostics()
    for name, what, key in (
        ("daemon.json", "state of the daemon: loops, queues, freshness", None),
        ("stacks.txt", "where each thread and task of the daemon is", "stacks"),
        ("log.jsonl", "the last lines of the daemon's log", "log"),
        ("metrics.txt", "the daemon's metrics as text", "metrics"),
    ):
        if isinstance(diagnostics, Failure):
            yield Part(name, what, missing=diagnostics.message)
        else:
            yield _part(name, what, lambda found=diagnostics, key=key: _of_daemon(found, key))  # type: ignore[misc]
    for name, what, operation, parameters in (
        ("status.json", "how each view and dataset is", "status", {}),
        ("views.json", "what each view reads and how it is kept", "views", {}),
        ("history.json", "the last refreshes: strategy, reason, counts, times", "history", {"limit": HISTORY_ROWS}),
        ("plans.json", "fingerprints and keys of the plans", "query", {"sql": PLANS_SQL, "limit": PLAN_ROWS}),
    ):
        yield _part(name, what, lambda one=operation, given=parameters: source.ask(one, given))  # type: ignore[misc]


def _part(name: str, what: str, make: Callable[[], Any]) -> Part:
    """A part whose making may fail without hurting the others."""
    try:
        made = make()
    except Exception as error:  # noqa: BLE001 - a bundle is asked for when things are broken
        return Part(name, what, missing=failure_of(error).message)
    if isinstance(made, str):
        return Part(name, what, masked(made).encode())
    hidden = masked_values(hide_secrets(None, "", {"value": made})["value"])
    return Part(name, what, (json.dumps(hidden, indent=1, ensure_ascii=False, default=str) + "\n").encode())


def _versions() -> dict[str, Any]:
    return {"installed": installed_versions(), "formats": known_formats()}


def _places(root: Path) -> dict[str, Path]:
    """The local folders that the project writes to; the project's own where it cannot be read."""
    try:
        project = load_project(root)
    except DeltakeepError:
        return {"project": root}
    named = {"store": local_path(project.store), "targets": local_path(project.targets), "spill": project.engine.spill}
    return {"project": root, **{name: folder for name, folder in named.items() if folder is not None}}


def _project(root: Path) -> str:
    """The project file as values: what is hidden by its key, and no comments, which may hold anything."""
    parsed = tomllib.loads((root / PROJECT_FILE).read_text(encoding="utf-8"))
    return tomlkit.dumps(hide_secrets(None, "", parsed))


def _definitions(root: Path) -> Iterator[Part]:
    files = [
        path
        for folder in (VIEWS_FOLDER, FUNCTIONS_FOLDER)
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in {".sql", ".py"} and path.is_file()
    ]
    for path in files[:DEFINITION_FILES_MAX]:
        name = path.relative_to(root).as_posix()
        yield _part(name, "a definition", lambda path=path: _beginning(path))  # type: ignore[misc]


def _beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(DEFINITION_BYTES_MAX).decode("utf-8", "replace")


def _of_daemon(found: Mapping[str, Any], key: str | None) -> Any:
    match key:
        case "stacks":
            return stacks_text(found["threads"], found["tasks"])
        case "log":
            return "".join(f"{line}\n" for line in found["log"])
        case "metrics":
            return found["metrics"]
        case _:
            return {name: one for name, one in found.items() if name not in {"threads", "tasks", "log", "metrics"}}


def _contents(parts: list[Part], clock: Clock) -> Part:
    lines = [
        f"Support bundle of Deltakeep, made {timestamp_text(clock.now_ms())}.",
        f'Values of store options and secrets are "{HIDDEN}"; there are no rows of tables.',
        "",
        *(f"{part.name}: {part.what}" + (f" (not there: {part.missing})" if part.missing else "") for part in parts),
    ]
    return Part("CONTENTS.txt", "this list", ("\n".join(lines) + "\n").encode())


# --- where answers come from ------------------------------------------------------------------------------------------


class _Source:
    """The daemon if one answers, else a keeper in this process; a daemon that is stuck is asked only once."""

    def __init__(self, root: Path, clock: Clock, *, offline: bool) -> None:
        self._root = root
        self._clock = clock
        self._client = None if offline else _client(root)
        self._lost: Failure | None = None
        self._keeper: Any = None

    def diagnostics(self) -> Mapping[str, Any] | Failure:
        """What only the daemon knows, or why there is nothing."""
        if self._client is None:
            return Failure("offline", "the daemon was not asked")
        try:
            found: Mapping[str, Any] = self._client.call("diagnostics", {}, None)
        except NoDaemon:
            self._client = None
            return Failure("daemon_not_reachable", "no daemon runs")
        except Failed as error:
            self._lost = error.failure
            return error.failure
        return found

    def ask(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        """Run a reading operation."""
        if self._client is not None:
            if self._lost is not None:
                raise Failed(self._lost)
            try:
                return self._client.call(operation, parameters, None)
            except Failed as error:
                if error.failure.code == "daemon_lost":
                    self._lost = error.failure
                raise
        from daemon.operations import answer, run_operation

        return answer(run_operation(self._opened(), operation, parameters, lambda _event: None))

    def _opened(self) -> Any:
        if self._lost is not None:
            raise Failed(self._lost)
        if self._keeper is None:
            from daemon.live_keeper import open_keeper

            # It is never closed: closing would write the plans that it made, and looking must write nothing.
            try:
                self._keeper = open_keeper(self._root, self._clock)
            except Exception as error:
                self._lost = failure_of(error)
                raise
        return self._keeper


def _client(root: Path) -> DaemonClient | None:
    try:
        daemon_settings(root)
    except (DeltakeepError, OSError):
        # Where the daemon listens cannot be known; the default place may still answer.
        return DaemonClient(root / "state" / "deltakeep.sock", DAEMON_PATIENCE_S)
    return DaemonClient(socket_path(root), DAEMON_PATIENCE_S)
