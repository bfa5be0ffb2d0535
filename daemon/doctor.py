"""Looking after the environment: clock, disk, rights, datasets, retention, versions; an edge that repairs nothing.

Each finding is `ok`, `warning` or `failure`, and says what to do.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.build import UNINSTALLED, installed_versions
from daemon.client import DaemonClient, NoDaemon
from daemon.clock import Clock, timestamp_text
from daemon.console.settings import tokens_path
from daemon.failure import Failed, failure_of
from daemon.machine import managed_by, physical_memory_bytes
from daemon.place import daemon_settings
from daemon.port import JsonValue
from daemon.tokens import TokenFile
from incremental.frontier import ViewTarget
from incremental.retention import DAY_MS, kept_by, readable_until
from registry.artifact_rows import ArtifactTable
from registry.cgroup import CgroupLimits, cgroup_limits
from registry.dataset import Dataset, TableRef
from registry.errors import DeltakeepError
from registry.formats import STORE_FORMAT, STORE_PROPERTY, known_formats, newer_commit, require_store_format
from registry.location import join_uri, local_path
from registry.names import TableId
from registry.native import TableState
from registry.project import PROJECT_FILE, EngineSettings, Project, load_project
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime, native_errors
from registry.view import View

Level = Literal["ok", "warning", "failure"]
FREE_BYTES_WARNING = 5_000_000_000
FREE_BYTES_FAILURE = 200_000_000
FREE_INODES_FAILURE = 1_000
CLOCK_STEP_MS = 2_000
FUTURE_MS = 60_000
OPEN_FILES_MIN = 1_024
TOKEN_WARNING_MS = 14 * DAY_MS
_ORIGINS = {"project": "as the project says", "cgroup": "by the control group's limit", "default": "by default"}
DAEMON_PATIENCE_S = 5.0
NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    message: str
    hint: str = ""

    def to_json(self) -> JsonValue:
        """The finding for clients."""
        return {"level": self.level, "subject": self.subject, "message": self.message, "hint": self.hint}


def examine(root: Path, clock: Clock) -> Iterator[Finding]:
    """Look at everything, cheapest first; one thing that is wrong keeps nothing else from being looked at."""
    yield from _versions()
    try:
        project = load_project(root)
    except DeltakeepError as error:
        failure = failure_of(error)
        problems = [f"{one.where}: {one.what}" for one in failure.troubles] or [failure.message]
        yield Finding("failure", "project", "; ".join(problems), "run `daemonctl check`")
        return
    yield Finding("ok", "project", f"{len(project.datasets)} datasets, {len(project.views)} views")
    yield from _secrets(project)
    yield from _tokens(project, clock)
    yield _daemon(project)
    yield from _limits(project, cgroup_limits())
    yield from _places(project, clock)
    try:
        runtime = build_session_runtime(RuntimeProfile.of(project.engine))
    except (DeltakeepError, ImportError) as error:
        yield Finding("failure", "engine", str(error), "reinstall deltakeep")
        return
    yield Finding("ok", "engine", f"function snapshot {runtime.function_snapshot_hash[:12]}")
    targets, broken = _targets(runtime, project)
    yield from broken
    yield from _formats(runtime, project, targets)
    for dataset in project.datasets.values():
        yield from _dataset(runtime, project, dataset, targets, clock)
    for name, (view, target) in targets.items():
        if any(target.table_id in one.frontier for _, one in targets.values()):
            yield _target(runtime, project, name, view.target, targets, clock)


def _versions() -> Iterator[Finding]:
    found = installed_versions()
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    if not _native_module_is_there():
        yield Finding("failure", "versions", f"the native module is not installed ({text})", "run `make setup`")
    elif UNINSTALLED in found.values():
        yield Finding("warning", "versions", text, "install deltakeep with its dependencies")
    else:
        yield Finding("ok", "versions", text)


def _native_module_is_there() -> bool:
    """Say whether the compiled part of the package is there; a checkout has the package before it is built."""
    package = importlib.util.find_spec("datafusion_ext")
    folders = package.submodule_search_locations if package is not None else None
    return any(True for folder in folders or () for _ in Path(folder).glob("_native*.so"))


def _daemon(project: Project) -> Finding:
    path = project.daemon.socket
    try:
        status = DaemonClient(path, timeout_s=DAEMON_PATIENCE_S).call("status", {}, None)
    except NoDaemon:
        return Finding("ok", "daemon", "not running", "start it with `daemonctl run`")
    except Failed as error:
        level: Level = "failure" if error.failure.code == "daemon_lost" else "warning"
        return Finding(level, "daemon", error.failure.message, error.failure.hint)
    mode = path.stat().st_mode & 0o777
    if mode & 0o007:
        return Finding("failure", "daemon", f'socket "{path}" has mode {mode:o}', "everybody may steer it; chmod 660")
    state = (status.get("daemon") or {}).get("state", "running") if isinstance(status, dict) else "running"
    group = f", its group {path.stat().st_gid} may steer it" if mode & 0o060 else ""
    return Finding("ok", "daemon", f'{state}, socket "{path}"{group}')


def _limits(project: Project, limits: CgroupLimits) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_MIN:
        yield Finding("warning", "open files", f"at most {soft}", "raise it with `ulimit -n 65536` or LimitNOFILE=")
    else:
        yield Finding("ok", "open files", f"at most {soft}")
    yield _memory(project.engine, limits)
    yield _processors(project.engine, limits)


def _memory(engine: EngineSettings, limits: CgroupLimits) -> Finding:
    """Whether the pool fits what the machine has and what the control group allows."""
    memory, whose = physical_memory_bytes(), "the machine's"
    if limits.memory_bytes is not None and limits.memory_bytes < memory:
        memory, whose = limits.memory_bytes, "the control group's"
    pool = engine.memory_bytes
    text = f"pool {pool / 1e9:.2f} GB {_ORIGINS[engine.memory_from]}, of {whose} {memory / 1e9:.2f} GB"
    if pool > memory * 0.8:
        return Finding("warning", "memory", text, "lower [engine] memory: the pool is not all that the process needs")
    return Finding("ok", "memory", text)


def _processors(engine: EngineSettings, limits: CgroupLimits) -> Finding:
    """How much work at a time is asked of how many processors, and who limits them."""
    usable = min(float(len(os.sched_getaffinity(0))), limits.processors or float("inf"))
    asked = engine.target_partitions * engine.concurrency
    managers = managed_by()
    under = f", under {', '.join(managers)}" if managers else ""
    text = f"{asked} partitions at a time {_ORIGINS[engine.partitions_from]}, on {usable:g} processors{under}"
    if asked > 4 * max(1.0, usable):
        return Finding("warning", "processors", text, "lower [engine] target_partitions or concurrency")
    return Finding("ok", "processors", text)


def _places(project: Project, clock: Clock) -> Iterator[Finding]:
    """Each local place that is written to: may we write, is there room, and does its clock agree with ours."""
    spill = project.engine.spill
    places = {"store": local_path(project.store), "targets": local_path(project.targets), "spill": spill}
    clock_found: Finding | None = None
    for name, folder in places.items():
        if folder is None:
            continue
        existing = _existing_parent(folder)
        try:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".deltakeep-doctor-") as probe:
                before_ms = clock.now_ms()
                probe.write(b"x")
                probe.flush()
                offset_ms = os.fstat(probe.fileno()).st_mtime_ns // 1_000_000 - before_ms
        except OSError as error:
            yield Finding("failure", name, f'cannot write to "{existing}": {error.strerror}', "give the user the right")
            continue
        if clock_found is None or abs(offset_ms) > CLOCK_STEP_MS:
            clock_found = _clock(offset_ms, clock)
        free, inodes = shutil.disk_usage(existing).free, os.statvfs(existing)
        text = f'"{folder}": {free / 1e9:.1f} GB free'
        if inodes.f_files > 0 and inodes.f_favail < FREE_INODES_FAILURE:
            yield Finding("failure", name, f"{text}, but only {inodes.f_favail} more files", "make room for files")
        elif free < FREE_BYTES_FAILURE:
            yield Finding("failure", name, text, "make room: refreshes will fail")
        elif free < FREE_BYTES_WARNING:
            yield Finding("warning", name, text, "make room before a recompute needs it")
        else:
            yield Finding("ok", name, text)
    if clock_found is not None:
        yield clock_found


def _clock(offset_ms: int, clock: Clock) -> Finding:
    now = timestamp_text(clock.now_ms())
    if abs(offset_ms) > CLOCK_STEP_MS:
        text = f"{now}; the disk's clock differs by {offset_ms} ms"
        return Finding("warning", "clock", text, "synchronise the clocks: lag is measured between them")
    return Finding("ok", "clock", now)


def _secrets(project: Project) -> Iterator[Finding]:
    """Whether others can read a project file that has values of store options written in it."""
    tables = [project.store_table, *(one.table for one in project.datasets.values())]
    if not any(table.options for table in tables):
        return
    file = project.root / PROJECT_FILE
    mode = file.stat().st_mode & 0o777
    if mode & 0o044:
        hint = f'write secrets as "env:NAME", or chmod 600 "{file}"'
        yield Finding("warning", "secrets", f"{PROJECT_FILE} has store options and mode {mode:o}", hint)
    else:
        yield Finding("ok", "secrets", f"{PROJECT_FILE} is readable by its owner only")


def _tokens(project: Project, clock: Clock) -> Iterator[Finding]:
    """Tokens of the console that are over, or soon will be: whoever uses them should have the next one by then."""
    try:
        tokens = TokenFile(tokens_path(project.root, daemon_settings(project.root))).tokens()
    except DeltakeepError as error:
        yield Finding("failure", "tokens", error.message, error.hint)
        return
    now_ms = clock.now_ms()
    over = [one.name for one in tokens if one.is_over(now_ms)]
    soon = [one.name for one in tokens if one.is_over(now_ms + TOKEN_WARNING_MS) and one.name not in over]
    told = [
        f"{_some(names)} {what}" for names, what in ((over, "expired"), (soon, "expires within two weeks")) if names
    ]
    if told:
        yield Finding("warning", "tokens", "; ".join(told), "revoke them, and make new ones where they are used")
    elif tokens:
        yield Finding("ok", "tokens", f"{len(tokens)}, none expires within two weeks")


Targets = Mapping[str, tuple[View, ViewTarget]]


def _targets(runtime: SessionRuntime, project: Project) -> tuple[Targets, list[Finding]]:
    """The targets that are there, by view; and those that cannot be looked at or written to."""
    found: dict[str, tuple[View, ViewTarget]] = {}
    broken: list[Finding] = []
    for name, view in project.declared.items():
        try:
            with native_errors():
                text = runtime.engine.target_state(view.target.to_json_text(), view.id)
        except DeltakeepError as error:
            broken.append(Finding("failure", name, error.message, error.hint or "check the target and the rights"))
            continue
        state = ViewTarget.from_text(text)
        folder = local_path(view.target.uri)
        if state.exists:
            found[name] = (view, state)
            if folder is not None and not os.access(folder / "_delta_log", os.W_OK):
                broken.append(Finding("failure", name, f'cannot write to "{folder}"', "give the user the right"))
    return found, broken


def _formats(runtime: SessionRuntime, project: Project, targets: Targets) -> Iterator[Finding]:
    """Whether what lies on disk is of formats that this version reads, and which engine wrote it."""
    known = ", ".join(f"{kind} {number}" for kind, number in known_formats().items())
    table = TableRef(uri=join_uri(project.store, ArtifactTable.REFRESHES.value), options=project.store_table.options)
    try:
        properties = runtime.table_state(table).properties
        require_store_format(project.store, properties)
    except DeltakeepError as error:
        if error.code == "newer_format":
            yield Finding("failure", "formats", error.message, error.hint)
            return
        properties = {STORE_PROPERTY: str(STORE_FORMAT)}  # there is none yet, or its own line says what is wrong
    newer = [name for name, (_, one) in targets.items() if one.details and newer_commit(one.details.format)]
    if newer:
        text = f"a newer Deltakeep keeps {_some(newer)}; this version reads {known}"
        yield Finding("failure", "formats", text, "run one version of the project, the newest")
        return
    engines = {one.details.engine_version for _, one in targets.values() if one.details} - {""}
    written = f"; targets written by engine {', '.join(sorted(engines))}" if engines else ""
    yield Finding("ok", "formats", f"store {properties.get(STORE_PROPERTY, '0')}; this version knows {known}{written}")


def _dataset(
    runtime: SessionRuntime, project: Project, dataset: Dataset, targets: Targets, clock: Clock
) -> Iterator[Finding]:
    name = str(dataset.name)
    began_ms = clock.monotonic_ms()
    try:
        state = runtime.table_state(dataset.table)
    except DeltakeepError as error:
        yield Finding("failure", name, error.message, error.hint or "check the uri and the rights")
        return
    took_ms = clock.monotonic_ms() - began_ms
    history = "" if state.oldest_version is None else f", history from version {state.oldest_version}"
    text = f"version {state.version}, opened in {took_ms} ms{history}"
    ahead_ms = state.timestamp_ms - clock.now_ms()
    if ahead_ms > FUTURE_MS:
        found = f"{text}; its last commit lies {ahead_ms // 1000} s in the future"
        yield Finding("warning", name, found, "synchronise the clocks of this machine and of the writers")
    elif state.oldest_version is not None and state.oldest_version == state.version and state.version > 0:
        yield Finding("warning", name, f"{text}: no older commit is left", "raise delta.logRetentionDuration")
    else:
        yield Finding("ok", name, text)
    yield _retention(runtime, project, name, dataset.table, state, targets, clock)


def _target(
    runtime: SessionRuntime, project: Project, name: str, table: TableRef, targets: Targets, clock: Clock
) -> Finding:
    """The retention of a target that other views read: of those it is an input like any dataset."""
    try:
        state = runtime.table_state(table)
    except DeltakeepError as error:
        return Finding("failure", f"{name} retention", error.message, error.hint or "check the target and the rights")
    return _retention(runtime, project, name, table, state, targets, clock)


def _retention(
    runtime: SessionRuntime,
    project: Project,
    name: str,
    table: TableRef,
    state: TableState,
    targets: Targets,
    clock: Clock,
) -> Finding:
    """Until when the oldest version that a view is pinned to stays readable, against what its reader may take."""
    subject, kept = f"{name} retention", kept_by(state.properties)
    longest_ms = max((view.target_lag_ms for view in project.views.values()), default=0)
    table_id = TableId(state.table_id)
    pins = {reader: one.frontier[table_id] for reader, (_, one) in targets.items() if table_id in one.frontier}
    oldest = min(pins.values(), default=None)
    promised = (
        f"files stay for {kept.files_ms / DAY_MS:.1f} days after they left, "
        f"entries of the log for {kept.log_ms / DAY_MS:.1f} days"
    )
    if oldest is not None and oldest < state.version:
        views = _some([reader for reader, version in pins.items() if version == oldest])
        try:
            superseded_ms = runtime.table_state(table, oldest + 1).timestamp_ms
            committed_ms = runtime.table_state(table, oldest).timestamp_ms
        except DeltakeepError:
            text = f"version {oldest}, pinned by {views}, cannot be read any more: {views} will be recomputed"
            return Finding("failure", subject, text, f"raise {kept.limited_by} of the table above the longest outage")
        until = readable_until(committed_ms, superseded_ms, kept)
        left_ms = until.at_ms - clock.now_ms()
        text = f"version {oldest}, pinned by {views}, stays readable until {timestamp_text(until.at_ms)[:16]}Z"
        if left_ms < max(2 * longest_ms, DAY_MS // 24):
            text = f"{text}, {max(0, left_ms) // 60_000} min from now"
            return Finding("warning", subject, text, _longer(until.limited_by))
        return Finding("ok", subject, text)
    if kept.shortest_ms < max(DAY_MS, 2 * longest_ms):
        return Finding("warning", subject, f"{promised} only", _longer(kept.limited_by))
    pinned = "" if oldest is None else f"; all views are at version {oldest}"
    return Finding("ok", subject, promised + pinned)


def _longer(limited_by: str) -> str:
    return f"raise {limited_by} of the table, or let its views catch up before anybody runs VACUUM"


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _existing_parent(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
