"""Looking after the environment: clock, disk, rights, datasets, retention, versions; an edge that repairs nothing.

Each finding is `ok`, `warning` or `failure`, and says what to do.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.build import UNINSTALLED, installed_versions
from daemon.client import DaemonClient, NoDaemon
from daemon.clock import Clock, timestamp_text
from daemon.failure import Failed, failure_of
from daemon.port import JsonValue
from registry.cgroup import CgroupLimits, cgroup_limits
from registry.errors import DeltakeepError
from registry.location import local_path
from registry.project import EngineSettings, Project, load_project
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime

Level = Literal["ok", "warning", "failure"]
FREE_BYTES_WARNING = 5_000_000_000
FREE_BYTES_FAILURE = 200_000_000
CLOCK_STEP_MS = 2_000
OPEN_FILES_MIN = 1_024
DAY_MS = 86_400_000
_ORIGINS = {"project": "as the project says", "cgroup": "by the control group's limit", "default": "by default"}


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
    yield _daemon(project)
    yield from _limits(project, cgroup_limits())
    yield from _places(project, clock)
    try:
        runtime = build_session_runtime(RuntimeProfile.of(project.engine))
    except (DeltakeepError, ImportError) as error:
        yield Finding("failure", "engine", str(error), "reinstall deltakeep")
        return
    yield Finding("ok", "engine", f"function snapshot {runtime.function_snapshot_hash[:12]}")
    for name in project.datasets:
        yield from _dataset(runtime, project, name, clock)


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
        status = DaemonClient(path, timeout_s=5.0).call("status", {}, None)
    except NoDaemon:
        return Finding("ok", "daemon", "not running", "start it with `daemonctl run`")
    except Failed as error:
        return Finding("warning", "daemon", error.failure.message, error.failure.hint)
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
    yield from _size(project.engine, limits)


def _size(engine: EngineSettings, limits: CgroupLimits) -> Iterator[Finding]:
    """Whether pool and partitions fit what the machine has and what the control group allows."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    whose = "the machine's"
    if limits.memory_bytes is not None and limits.memory_bytes < memory:
        memory, whose = limits.memory_bytes, "the control group's"
    pool = engine.memory_bytes
    text = f"pool {pool / 1e9:.2f} GB {_ORIGINS[engine.memory_from]}, of {whose} {memory / 1e9:.2f} GB"
    if pool > memory * 0.8:
        yield Finding("warning", "memory", text, "lower [engine] memory: the pool is not all that the process needs")
    else:
        yield Finding("ok", "memory", text)
    processors = limits.processors or float(os.cpu_count() or 1)
    partitions = engine.target_partitions
    text = f"{partitions} partitions {_ORIGINS[engine.partitions_from]}, on {processors:g} processors"
    if partitions > 4 * max(1.0, processors):
        yield Finding("warning", "processors", text, "lower [engine] target_partitions: each needs memory and time")
    else:
        yield Finding("ok", "processors", text)


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
        free = shutil.disk_usage(existing).free
        text = f'"{folder}": {free / 1e9:.1f} GB free'
        if free < FREE_BYTES_FAILURE:
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


def _dataset(runtime: SessionRuntime, project: Project, name: str, clock: Clock) -> Iterator[Finding]:
    dataset = next(one for one in project.datasets.values() if one.name == name)
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
    if ahead_ms > 60_000:
        yield Finding(
            "warning", name, f"{text}; its last commit lies {ahead_ms // 1000} s in the future", "check clocks"
        )
    elif state.oldest_version is not None and state.oldest_version == state.version and state.version > 0:
        yield Finding("warning", name, f"{text}: no older commit is left", "raise delta.logRetentionDuration")
    else:
        yield Finding("ok", name, text)
    longest_ms = max((view.target_lag_ms for view in project.views.values()), default=0)
    kept_ms = retention_ms(state.properties.get("delta.deletedFileRetentionDuration"))
    if kept_ms is not None and kept_ms < max(DAY_MS, 2 * longest_ms):
        yield Finding(
            "warning",
            name,
            f"removed files are kept for {kept_ms / DAY_MS:.1f} days only",
            "raise delta.deletedFileRetentionDuration, or a pause of the daemon ends in a recompute",
        )


def retention_ms(text: str | None) -> int | None:
    """The milliseconds of an interval like `interval 7 days`; None where there is none or it is not understood.

    >>> retention_ms("interval 1 week")
    604800000
    """
    words = (text or "").lower().removeprefix("interval").split()
    units = {"week": 7 * DAY_MS, "day": DAY_MS, "hour": 3_600_000, "minute": 60_000, "second": 1_000}
    if len(words) != 2 or not words[0].isdigit():
        return None
    unit = units.get(words[1].rstrip("s"))
    return None if unit is None else int(words[0]) * unit


def _existing_parent(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
