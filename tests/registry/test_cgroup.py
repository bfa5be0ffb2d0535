"""Limits of control groups of both versions, on trees of files and on this kernel's, and the engine's size by them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.cgroup import (
    DEFAULT_MEMORY_BYTES,
    DEFAULT_PARTITIONS,
    NO_LIMITS,
    POOL_BYTES_MIN,
    CgroupLimits,
    EngineSize,
    cgroup_limits,
    engine_size,
    own_groups,
)
from registry.project import load_project

GB = 1_000_000_000
V2 = "30 24 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "3{number} 24 0:2{number} {top} /sys/fs/cgroup/{name} rw,nosuid - cgroup cgroup rw,{controllers}\n"
NO_LIMIT_V1 = "9223372036854771712\n"


def tree(root: Path, files: dict[str, str]) -> CgroupLimits:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return cgroup_limits(root)


def v1_mounts(top: str = "/") -> str:
    names = (("memory", "memory"), ("cpu,cpuacct", "cpu,cpuacct"), ("cpuset", "cpuset"))
    return "".join(
        V1.format(number=number, top=top, name=name, controllers=controllers)
        for number, (name, controllers) in enumerate(names)
    )


def test_a_container_with_version_2_sees_its_own_limits_at_the_top(tmp_path: Path) -> None:
    limits = tree(
        tmp_path,
        {
            "proc/self/mountinfo": V2.format(top="/"),
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "2000000000\n",
            "sys/fs/cgroup/memory.high": "max\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
        },
    )
    assert limits == CgroupLimits(2 * GB, 1.5)


def test_our_own_group_is_one_folder_with_version_2_and_one_a_hierarchy_with_version_1(tmp_path: Path) -> None:
    second, first = tmp_path / "second", tmp_path / "first"
    tree(
        second,
        {
            "proc/self/mountinfo": V2.format(top="/"),
            "proc/self/cgroup": "0::/system.slice/deltakeep.service\n",
            "sys/fs/cgroup/system.slice/deltakeep.service/memory.max": "max\n",
        },
    )
    assert own_groups(second) == (second / "sys/fs/cgroup/system.slice/deltakeep.service",)
    tree(first, {"proc/self/mountinfo": v1_mounts(), "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n"})
    assert own_groups(first) == (first / "sys/fs/cgroup/memory", first / "sys/fs/cgroup/cpu,cpuacct")
    assert own_groups(tmp_path / "none") == ()


def test_a_service_is_bound_by_the_tightest_group_on_the_way_up(tmp_path: Path) -> None:
    own = "sys/fs/cgroup/system.slice/deltakeep.service"
    limits = tree(
        tmp_path,
        {
            "proc/self/mountinfo": V2.format(top="/"),
            "proc/self/cgroup": "0::/system.slice/deltakeep.service\n",
            f"{own}/memory.max": f"{8 * GB}\n",
            f"{own}/memory.high": f"{6 * GB}\n",
            f"{own}/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/memory.max": f"{3 * GB}\n",
            "sys/fs/cgroup/system.slice/cpu.max": "400000 100000\n",
            # The root has none of these files.
            "sys/fs/cgroup/cgroup.procs": "1\n",
        },
    )
    assert limits == CgroupLimits(3 * GB, 4.0)


def test_a_set_of_processors_that_leaves_some_out_is_a_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/mountinfo": V2.format(top="/"),
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpuset.cpus.effective": "0-1,6\n",
        "sys/devices/system/cpu/online": "0-7\n",
    }
    assert tree(tmp_path, files) == CgroupLimits(None, 3.0)
    assert tree(tmp_path, {"sys/fs/cgroup/cpuset.cpus.effective": "0-7\n"}) == NO_LIMITS


def test_version_1_has_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    limits = tree(
        tmp_path,
        {
            "proc/self/mountinfo": v1_mounts(),
            "proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/shop\n3:memory:/shop/daemon\n0::/\n",
            "sys/fs/cgroup/memory/shop/daemon/memory.limit_in_bytes": NO_LIMIT_V1,
            "sys/fs/cgroup/memory/shop/memory.limit_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits == CgroupLimits(GB, 0.5)


def test_a_container_with_version_1_sees_its_group_where_it_is_mounted(tmp_path: Path) -> None:
    # Without a namespace of its own the path is that of the host, and the mount shows only what is below it.
    limits = tree(
        tmp_path,
        {
            "proc/self/mountinfo": v1_mounts("/docker/4f2a"),
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/4f2a\n3:memory:/docker/4f2a\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits == CgroupLimits(GB, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/mountinfo": "", "proc/self/cgroup": ""},
        {
            "proc/self/mountinfo": V2.format(top="/"),
            "proc/self/cgroup": "0::/../../elsewhere\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
        },
        {
            "proc/self/mountinfo": v1_mounts(),
            "proc/self/cgroup": "3:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
        },
        {
            "proc/self/mountinfo": V2.format(top="/"),
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "nonsense\n",
            "sys/fs/cgroup/cpu.max": "100000\n",
        },
    ],
)
def test_what_is_not_there_or_not_understood_is_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    assert tree(tmp_path, files) == NO_LIMITS


@pytest.mark.parametrize(
    ("limits", "memory", "partitions"),
    [
        (NO_LIMITS, DEFAULT_MEMORY_BYTES, DEFAULT_PARTITIONS),
        (CgroupLimits(GB, 0.5), 450_000_000, 1),
        (CgroupLimits(8 * GB, 3.9), 5_700_000_000, 3),
        (CgroupLimits(256_000_000, 128.0), POOL_BYTES_MIN, 128),
        (CgroupLimits(None, 5_000.0), DEFAULT_MEMORY_BYTES, 1024),
    ],
)
def test_limits_size_what_the_project_leaves_open(limits: CgroupLimits, memory: int, partitions: int) -> None:
    size = engine_size(limits, None, None)
    assert (size.memory_bytes, size.target_partitions) == (memory, partitions)
    assert size.memory_bytes < (limits.memory_bytes or 2 * DEFAULT_MEMORY_BYTES)


def test_what_a_project_says_is_never_changed(tmp_path: Path) -> None:
    tight = CgroupLimits(GB, 1.0)
    assert engine_size(tight, 7 * GB, 16) == EngineSize(7 * GB, 16, "project", "project")
    (tmp_path / "views").mkdir()
    (tmp_path / "deltakeep.toml").write_text('[project]\nname = "shop"\n[engine]\nmemory = "7GB"\n')
    engine = load_project(tmp_path, {}, tight).engine
    assert (engine.memory_bytes, engine.memory_from) == (7 * GB, "project")
    assert (engine.target_partitions, engine.partitions_from) == (1, "cgroup")


def writable_group() -> tuple[dict[Path, str], str]:
    """Folders of new groups of this kernel with their limits, and why there are none."""
    name = f"deltakeep-cgroup-test-{os.getpid()}"
    found: dict[Path, str] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup" and "memory" in options.split(","):
            found[Path(place) / name] = "memory.limit_in_bytes"
        if kind == "cgroup2" and "memory" in (Path(place) / "cgroup.subtree_control").read_text():
            found[Path(place) / name] = "memory.max"
    return found, "" if found and os.geteuid() == 0 else "no control group with the controller of memory can be made"


def test_this_kernel_limits_a_process_as_it_reads_it() -> None:
    groups, why_not = writable_group()
    if why_not:
        pytest.skip(why_not)
    (folder, file), *_ = groups.items()
    folder.mkdir()
    try:
        (folder / file).write_text(str(1 << 30))
        program = "from registry.cgroup import cgroup_limits; print(cgroup_limits().memory_bytes)"
        enter = f'echo $$ > "{folder}/cgroup.procs"; exec "$0" -c "{program}"'
        done = subprocess.run(["bash", "-c", enter, sys.executable], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"{1 << 30}\n", "")
    finally:
        folder.rmdir()
