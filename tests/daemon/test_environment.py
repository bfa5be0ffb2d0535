"""`init`, `check` and `doctor` over a lake in memory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.checking import check_project
from daemon.clock import SystemClock
from daemon.doctor import Finding, examine
from daemon.place import find_project, socket_path
from daemon.scaffold import ProjectExists, make_project, sample_orders
from daemon.tokens import TokenFile
from incremental.retention import DAY_MS
from registry.cgroup import CgroupLimits
from registry.errors import DefinitionError, MustRecompute
from registry.project import load_project
from tests.daemon.fakes import ManualClock
from tests.incremental.fake_lake import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path)
    made.dataset("orders", (1, 10), properties={"delta.deletedFileRetentionDuration": "interval 1 hour"})
    made.view("clean", "SELECT k, v FROM orders WHERE v > 5")
    for module in ("checking", "doctor", "scaffold"):
        monkeypatch.setattr(f"daemon.{module}.build_session_runtime", lambda _profile: made.runtime())
    return made


def found(findings: Iterator[Finding], subject: str) -> list[str]:
    return [f"{one.level}: {one.message}" for one in findings if one.subject == subject]


def test_a_right_project_tells_how_each_view_is_kept(shop: Shop) -> None:
    shop.lake.not_incremental["late"] = "limit_not_incremental"
    shop.view("late", "SELECT k FROM clean LIMIT 3")
    report = check_project(shop.root).to_json()
    assert report["problems"] == []
    kept = {view["name"]: (view["incremental"], view["reason"]) for view in report["views"]}
    assert kept == {"clean": (True, None), "late": (False, "limit_not_incremental")}
    assert next(view for view in report["views"] if view["name"] == "late")["hint"]


def test_every_problem_is_told_at_once_with_its_place(shop: Shop) -> None:
    shop.datasets.append("nosuch")
    shop.view("broken", "SELECT FROM")
    with pytest.raises(DefinitionError) as caught:
        check_project(shop.root)
    places = {problem.file for problem in caught.value.problems}
    assert places == {"deltakeep.toml", "views/broken.sql"}
    assert all(problem.line for problem in caught.value.problems)


def test_an_unknown_name_does_not_hide_an_unreadable_dataset(shop: Shop) -> None:
    shop.datasets.append("nosuch")
    shop.view("lost", "SELECT k FROM ordres")
    with pytest.raises(DefinitionError) as caught:
        check_project(shop.root)
    assert [problem.file for problem in caught.value.problems] == ["deltakeep.toml", "views/lost.sql"]


def test_checking_writes_nothing(shop: Shop) -> None:
    before = sorted(shop.root.rglob("*"))
    check_project(shop.root)
    assert sorted(shop.root.rglob("*")) == before


def test_doctor_looks_at_everything_and_leaves_nothing_behind(shop: Shop) -> None:
    before = sorted(shop.root.rglob("*"))
    clock = ManualClock(shop.root.stat().st_mtime_ns // 1_000_000)
    findings = list(examine(shop.root, clock))
    subjects = {one.subject for one in findings}
    assert {"processors", "formats", "open files"} <= subjects
    assert all(one.hint for one in findings if one.level != "ok")
    assert {"versions", "project", "daemon", "memory", "store", "targets", "spill", "engine", "orders"} <= subjects
    assert found(iter(findings), "project") == ["ok: 1 datasets, 1 views"]
    promised = "warning: files stay for 0.0 days after they left, entries of the log for 30.0 days only"
    assert found(iter(findings), "orders retention") == [promised]
    assert sorted(shop.root.rglob("*")) == before


def test_doctor_tells_a_clock_that_disagrees_with_the_disk(shop: Shop) -> None:
    assert found(examine(shop.root, ManualClock(1_000)), "clock")[0].startswith("warning: 1970-01-01")
    now_ms = SystemClock().now_ms()
    assert found(examine(shop.root, ManualClock(now_ms + 3_600_000)), "clock")[0].startswith("warning: ")
    assert found(examine(shop.root, SystemClock()), "clock")[0].startswith("ok: ")


def test_doctor_names_a_dataset_that_is_not_there(shop: Shop) -> None:
    shop.datasets.append("nosuch")
    shop.write()
    assert found(examine(shop.root, ManualClock()), "nosuch")[0].startswith("failure: there is no Delta table")


def test_doctor_goes_no_further_with_a_broken_project(shop: Shop) -> None:
    (shop.root / "deltakeep.toml").write_text("[project]\n")
    findings = list(examine(shop.root, ManualClock()))
    assert findings[-1].subject == "project"
    assert findings[-1].level == "failure"


@pytest.fixture
def kept_shop(shop: Shop) -> Shop:
    """The shop with a built view whose dataset has moved on, and which keeps its history for a week."""
    shop.lake.tables[shop.uri("orders")].now.properties = {}
    keeper = shop.open()
    shop.cycle(keeper)
    keeper.close()
    shop.clock.step(60_000)
    shop.add("orders", (2, 20))
    return shop


def test_doctor_says_until_when_a_pinned_version_stays_readable(kept_shop: Shop) -> None:
    clock = ManualClock(kept_shop.clock.at_ms)
    assert found(examine(kept_shop.root, clock), "orders retention") == [
        "ok: version 0, pinned by clean, stays readable until 2023-11-21T22:14Z"
    ]
    clock.move(7 * DAY_MS - 60_000)
    assert found(examine(kept_shop.root, clock), "orders retention") == [
        "warning: version 0, pinned by clean, stays readable until 2023-11-21T22:14Z, 1 min from now"
    ]


def test_doctor_counts_the_entry_of_the_log_from_its_own_commit(kept_shop: Shop) -> None:
    kept_shop.table("orders").now.properties = {"delta.logRetentionDuration": "interval 1 minutes"}
    clock = ManualClock(kept_shop.clock.at_ms)
    (line,) = found(examine(kept_shop.root, clock), "orders retention")
    # The version was committed a minute and a moment ago, and superseded just now.
    assert line.startswith("warning: version 0, pinned by clean, stays readable until 2023-11-14T22:14Z, 0 min from")


def test_doctor_tells_the_retention_of_a_target_that_another_view_reads(kept_shop: Shop) -> None:
    kept_shop.view("total", "SELECT k, sum(v) AS v FROM clean GROUP BY k")
    keeper = kept_shop.open()
    kept_shop.cycle(keeper)
    keeper.pause("total", "maintenance")
    kept_shop.add("orders", (3, 30))
    kept_shop.cycle(keeper)
    keeper.close()
    findings = list(examine(kept_shop.root, ManualClock(kept_shop.clock.at_ms)))
    (line,) = found(iter(findings), "clean retention")
    assert line.startswith("ok: version 1, pinned by total, stays readable until 2023-11-21T22:14Z")
    assert found(iter(findings), "total retention") == []


def test_doctor_tells_a_pinned_version_that_is_gone(kept_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kept_shop.lake.table_state

    def cleaned(table: str, version: int | None = None) -> str:
        if version == 0:
            raise MustRecompute("history_gone", "version 0 is gone")
        return real(table, version)

    monkeypatch.setattr(kept_shop.lake, "table_state", cleaned)
    (line,) = found(examine(kept_shop.root, ManualClock(kept_shop.clock.at_ms)), "orders retention")
    assert line == "failure: version 0, pinned by clean, cannot be read any more: clean will be recomputed"


def test_doctor_tells_targets_that_a_newer_version_keeps(kept_shop: Shop) -> None:
    target = kept_shop.table("clean")
    assert found(examine(kept_shop.root, ManualClock()), "formats")[0].startswith("ok: store 1; this version knows")
    assert target.now.details is not None
    target.now.details = {**target.now.details, "format": 2}
    (line,) = found(examine(kept_shop.root, ManualClock()), "formats")
    assert line.startswith("failure: a newer Deltakeep keeps clean; this version reads store 1, bundle 1, commit 1")


def test_doctor_warns_of_tokens_that_are_over_or_soon_will_be(shop: Shop) -> None:
    clock = ManualClock(1_700_000_000_000)
    tokens = TokenFile(shop.root / "state" / "tokens.json")
    assert found(examine(shop.root, clock), "tokens") == []
    tokens.create("ann", "read", now_ms=1, by="x")
    tokens.create("ben", "read", now_ms=1, by="x", expires_ms=clock.now_ms() + 15 * DAY_MS)
    assert found(examine(shop.root, clock), "tokens") == ["ok: 2, none expires within two weeks"]
    clock.move(2 * DAY_MS)
    assert found(examine(shop.root, clock), "tokens") == ["warning: ben expires within two weeks"]
    clock.move(13 * DAY_MS)
    assert found(examine(shop.root, clock), "tokens") == ["warning: ben expired"]
    (shop.root / "state" / "tokens.json").chmod(0o644)
    assert found(examine(shop.root, clock), "tokens")[0].startswith("failure: others than the owner")


def test_doctor_tells_secrets_that_everybody_can_read(shop: Shop) -> None:
    file = shop.root / "deltakeep.toml"
    file.write_text(file.read_text() + 'storage_options = { key = "a-secret-of-a-test" }\n')
    file.chmod(0o644)
    assert found(examine(shop.root, ManualClock()), "secrets") == [
        "warning: deltakeep.toml has store options and mode 644"
    ]
    file.chmod(0o600)
    assert found(examine(shop.root, ManualClock()), "secrets") == ["ok: deltakeep.toml is readable by its owner only"]


def test_doctor_tells_a_disk_without_room_for_another_file(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10, 5, 5, 1000, 10, 10, 0, 255))
    monkeypatch.setattr("daemon.doctor.os.statvfs", lambda _path: full)
    assert found(examine(shop.root, ManualClock()), "store")[0].endswith("but only 10 more files")


def test_doctor_tells_places_and_targets_without_the_right_to_write(
    kept_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("daemon.doctor.tempfile.NamedTemporaryFile", refused)
    monkeypatch.setattr("daemon.doctor.os.access", lambda _path, mode: mode != os.W_OK)
    findings = list(examine(kept_shop.root, ManualClock()))
    for subject in ("store", "targets", "spill"):
        (line,) = found(iter(findings), subject)
        assert line.startswith("failure: cannot write to")
        assert line.endswith(": Permission denied")
    (line,) = found(iter(findings), "clean")
    assert line == f'failure: cannot write to "{kept_shop.root / "views_out" / "clean"}"'


@pytest.mark.parametrize(
    ("free", "told"),
    [(100_000_000, "failure: "), (1_000_000_000, "warning: "), (9_000_000_000, "ok: ")],
)
def test_doctor_tells_how_much_room_is_left(shop: Shop, monkeypatch: pytest.MonkeyPatch, free: int, told: str) -> None:
    usage = shutil.disk_usage(shop.root)._replace(free=free)
    monkeypatch.setattr("daemon.doctor.shutil.disk_usage", lambda _path: usage)
    (line,) = found(examine(shop.root, ManualClock()), "store")
    assert line.startswith(told)
    assert line.endswith(f"{free / 1e9:.1f} GB free")


def test_doctor_tells_versions_and_a_native_module_that_is_missing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = found(examine(shop.root, ManualClock()), "versions")
    assert re.search(r"^ok: .*datafusion 55", line), line
    monkeypatch.setattr("daemon.doctor.importlib.util.find_spec", lambda _name: None)
    (line,) = found(examine(shop.root, ManualClock()), "versions")
    assert line.startswith("failure: the native module is not installed")


def test_init_makes_a_valid_project_and_never_overwrites(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("parent") / "my-shop"
    made = make_project(folder, 1_700_000_000_000)
    project = load_project(folder)
    assert project.name == "my_shop"
    assert set(project.views) == {"orders_clean", "orders_by_day"}
    assert set(project.datasets) == {"orders"}
    assert folder / "views" / "orders_clean.sql" in made
    text = (folder / "deltakeep.toml").read_text()
    with pytest.raises(ProjectExists) as caught:
        make_project(folder, 1_700_000_000_000)
    assert caught.value.exit_code == 6
    assert (folder / "deltakeep.toml").read_text() == text


def test_the_sample_is_the_same_everywhere_and_has_something_to_filter() -> None:
    first, second = list(sample_orders()), list(sample_orders())
    assert all(one.equals(two) for one, two in zip(first, second, strict=True))
    assert {"paid", "cancelled"} == set(first[0]["status"].to_pylist())


def test_the_project_is_the_nearest_one_upwards_and_says_where_its_socket_is(tmp_path: Path) -> None:
    (tmp_path / "deltakeep.toml").write_text('[project]\nname = "x"\n[daemon]\nsocket = "run/x.sock"\n')
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_project(deep, given=False) == tmp_path.resolve()
    assert socket_path(tmp_path) == tmp_path / "run" / "x.sock"


def test_doctor_says_what_sized_the_engine(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = CgroupLimits(2_000_000_000, 1.5)
    monkeypatch.setattr("daemon.doctor.cgroup_limits", lambda: limits)
    monkeypatch.setattr("daemon.doctor.managed_by", list)
    monkeypatch.setattr("daemon.doctor.load_project", lambda root: load_project(root, {}, limits))
    assert found(examine(shop.root, ManualClock()), "memory") == [
        "ok: pool 1.20 GB by the control group's limit, of the control group's 2.00 GB"
    ]
    assert found(examine(shop.root, ManualClock()), "processors") == [
        "ok: 1 partitions at a time by the control group's limit, on 1.5 processors"
    ]
    text = (shop.root / "deltakeep.toml").read_text()
    (shop.root / "deltakeep.toml").write_text(f'{text}\n[engine]\nmemory = "1900MB"\ntarget_partitions = 8\n')
    assert found(examine(shop.root, ManualClock()), "memory")[0].startswith("warning: pool 1.90 GB as the project says")
    assert found(examine(shop.root, ManualClock()), "processors")[0].startswith(
        "warning: 8 partitions at a time as the project"
    )
