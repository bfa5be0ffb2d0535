"""The machine as this process sees it: memory, processors, disks, limits of cgroups and of the process; an edge.

Only figures and names: no content of any file of a project, no value of the environment.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.cgroup import own_groups

_CGROUP_FILES = (
    "memory.max",
    "memory.high",
    "memory.current",
    "memory.peak",
    "memory.swap.max",
    "memory.events",
    "cpu.max",
    "cpu.stat",
    "pids.max",
    "pids.current",
    # What version 1 calls them.
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
)
_LIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "address_space": resource.RLIMIT_AS,
    "locked_memory": resource.RLIMIT_MEMLOCK,
    "processes": resource.RLIMIT_NPROC,
    "core": resource.RLIMIT_CORE,
}


def machine_facts(places: Mapping[str, Path]) -> dict[str, Any]:
    """Everything that is known of the machine; `places` are folders whose file systems matter."""
    return {
        "system": platform.platform(),
        "processors": {"online": os.cpu_count(), "usable": len(os.sched_getaffinity(0)), "load": os.getloadavg()},
        "memory_bytes": _memory(),
        "cgroup": cgroup_facts(),
        "process": _process(),
        "disks": {name: _disk(folder) for name, folder in places.items()},
        "managed_by": managed_by(),
    }


def cgroup_facts(folders: Iterable[Path] | None = None) -> dict[str, str]:
    """The limits and figures of our control group, as the kernel writes them; empty where there is none."""
    found = {}
    for folder in own_groups() if folders is None else folders:
        for name in _CGROUP_FILES:
            with contextlib.suppress(OSError):
                found[name] = (folder / name).read_text().strip()
    return found


def physical_memory_bytes() -> int:
    """The memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def managed_by() -> list[str]:
    """Who runs this process, as far as it can be seen from inside."""
    found = []
    if os.environ.get("INVOCATION_ID"):
        found.append("systemd")
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        found.append("kubernetes")
    if Path("/run/.containerenv").exists() or Path("/.dockerenv").exists():
        found.append("container")
    return found


def _memory() -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in {"MemTotal", "MemAvailable", "SwapTotal", "SwapFree"}:
                found[name] = int(rest.split()[0]) * 1024
    return found


def _process() -> dict[str, Any]:
    found: dict[str, Any] = {
        name: [None if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(kind)]
        for name, kind in _LIMITS.items()
    }
    found["peak_resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with contextlib.suppress(OSError):
        found["open_descriptors"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number counts
        found["resident_bytes"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    found["user"], found["group"] = os.geteuid(), os.getegid()
    return found


def _disk(folder: Path) -> dict[str, Any]:
    existing = next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))
    usage, inodes = shutil.disk_usage(existing), os.statvfs(existing)
    return {
        "folder": str(folder),
        "total_bytes": usage.total,
        "free_bytes": usage.free,
        "free_inodes": inodes.f_favail,
        "writable": os.access(existing, os.W_OK),
    }
