"""What the control group of this process may use, and how the engine is sized by it; an edge that only reads.

Limits count along the whole way up, so the smallest one holds; both versions of cgroups are understood, in a container
and outside.  `engine_size` is pure: limits and what the project says in, sizes out.
Invariant: what the project says is never changed, and without limits the defaults are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

DEFAULT_MEMORY_BYTES: Final = 4_000_000_000
DEFAULT_PARTITIONS: Final = 2
PROCESS_BYTES: Final = 400_000_000
"""What the process needs beside the pool: interpreter, engine, logs of tables, files in flight."""
POOL_SHARE: Final = 0.75
"""The pool's share of the rest: not every byte that work holds is counted by it."""
POOL_BYTES_MIN: Final = 64_000_000
PARTITIONS_MAX: Final = 1024
_UNLIMITED_FROM: Final = 1 << 62
"""Version 1 writes "no limit" as the largest number of whole pages."""

Origin = Literal["project", "cgroup", "default"]


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Bytes and processors that may be used; None is no limit."""

    memory_bytes: int | None = None
    processors: float | None = None


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The size of the engine's memory pool and the partitions of a task, each with where it comes from."""

    memory_bytes: int
    target_partitions: int
    memory_from: Origin
    partitions_from: Origin


NO_LIMITS: Final = CgroupLimits()


def engine_size(limits: CgroupLimits, memory_bytes: int | None, target_partitions: int | None) -> EngineSize:
    """Size the engine; None is what the project leaves open.

    >>> engine_size(CgroupLimits(2_000_000_000, 1.5), None, None)
    EngineSize(memory_bytes=1200000000, target_partitions=1, memory_from='cgroup', partitions_from='cgroup')
    """
    memory, memory_from = DEFAULT_MEMORY_BYTES, _origin(memory_bytes, limits.memory_bytes)
    if memory_bytes is not None:
        memory = memory_bytes
    elif limits.memory_bytes is not None:
        memory = max(POOL_BYTES_MIN, int((limits.memory_bytes - PROCESS_BYTES) * POOL_SHARE))
    partitions, partitions_from = DEFAULT_PARTITIONS, _origin(target_partitions, limits.processors)
    if target_partitions is not None:
        partitions = target_partitions
    elif limits.processors is not None:
        # A share of a processor more would only be spent waiting for the next period.
        partitions = min(PARTITIONS_MAX, max(1, math.floor(limits.processors)))
    return EngineSize(memory, partitions, memory_from, partitions_from)


def cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """Read the limits of this process; `root` is where `/proc` and `/sys` are looked for."""
    memory: list[int] = []
    processors: list[float] = []
    for mount, path in _memberships(root):
        for folder in _upwards(root, mount, path):
            if mount.controllers is None:
                memory += _numbers(folder / "memory.max", folder / "memory.high")
                processors += _quota_v2(folder / "cpu.max")
                processors += _fewer(root, folder / "cpuset.cpus.effective")
            else:
                memory += _numbers(folder / "memory.limit_in_bytes")
                processors += _quota_v1(folder)
                processors += _fewer(root, folder / "cpuset.effective_cpus")
    return CgroupLimits(min(memory, default=None), min(processors, default=None))


def own_groups(root: Path = Path("/")) -> tuple[Path, ...]:
    """The folders of our own group: one with version 2, one for each hierarchy with version 1; none without groups."""
    return tuple(next(_upwards(root, mount, path)) for mount, path in _memberships(root))


def _origin(said: int | None, limit: float | None) -> Origin:
    return "project" if said is not None else "cgroup" if limit is not None else "default"


# --- where the group is -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy: the group at its top, where it is mounted, its controllers; None is version 2."""

    top: str
    place: str
    controllers: frozenset[str] | None


def _memberships(root: Path) -> Iterator[tuple[_Mount, str]]:
    """The hierarchies that are mounted here, each with the path of our group in it."""
    try:
        mounts = tuple(_mounts((root / "proc/self/mountinfo").read_text()))
        groups = tuple(line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines())
    except OSError:
        return
    for mount in mounts:
        for number, controllers, path in groups:
            if mount.controllers is None:
                belongs = number == "0" and not controllers
            else:
                belongs = not mount.controllers.isdisjoint(controllers.split(","))
            if belongs:
                yield mount, path


def _mounts(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
        if kind == "cgroup2":
            yield _Mount(fields[3], fields[4], None)
        elif kind == "cgroup":
            yield _Mount(fields[3], fields[4], frozenset(options.split(",")))


def _upwards(root: Path, mount: _Mount, path: str) -> Iterator[Path]:
    """The folders of the group and of those around it, as far as they are mounted."""
    top = mount.top.rstrip("/")
    place = root / mount.place.lstrip("/")
    inside = path.removeprefix(top).strip("/") if path == top or path.startswith(f"{top}/") else ""
    folder = place / inside
    if ".." in Path(inside).parts or not folder.is_dir():
        # The group is outside of what is mounted here, as with a namespace of another one.
        folder = place
    while True:
        yield folder
        if folder == place:
            return
        folder = folder.parent


# --- what it says -----------------------------------------------------------------------------------------------------


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _numbers(*files: Path) -> list[int]:
    found = [int(word) for file in files for word in _words(file)[:1] if word.isdecimal()]
    return [number for number in found if 0 < number < _UNLIMITED_FROM]


def _quota_v2(file: Path) -> list[float]:
    words = _words(file)
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return []
    return [int(words[0]) / int(words[1])]


def _quota_v1(folder: Path) -> list[float]:
    quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
    return [quota[0] / period[0]] if quota and period else []


def _fewer(root: Path, file: Path) -> list[float]:
    """How many processors a set has, if these are fewer than the machine's."""
    mine, all_of_them = _counted(_words(file)), _counted(_words(root / "sys/devices/system/cpu/online"))
    return [float(mine)] if 0 < mine < all_of_them else []


def _counted(words: list[str]) -> int:
    """How many numbers a list like `0-3,7` names."""
    count = 0
    for part in words[0].split(",") if words else ():
        first, _, last = part.partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            count += int(last or first) - int(first) + 1
    return count
