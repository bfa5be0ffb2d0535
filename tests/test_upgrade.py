"""Files of the previous format are read and continued; files of a newer one stop what would misread them, and say so.

`tests/registry/formats/unversioned.tar.gz` was written before anything on disk said its format: a dataset with two
commits, the two views over it, and a store with their plans, refreshes and a pause.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from daemon.cli.application import run
from registry.errors import EXIT_CHECK_FAILED, EXIT_CONFIGURATION, EXIT_OK
from tests.lake import SourceTable
from tests.workspace import Workspace

FIXTURE = Path(__file__).parent / "registry" / "formats" / "unversioned.tar.gz"
ORDERS = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])


@pytest.fixture
def before(tmp_path: Path) -> Workspace:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    workspace = Workspace(tmp_path)
    workspace.clock.at_ms += 10_000_000
    workspace.datasets["orders"] = SourceTable(tmp_path / "lake" / "orders", ORDERS)
    for file in (tmp_path / "views").glob("*.sql"):
        workspace.views[file.stem] = file.read_text()
    return workspace


def log_entries(folder: Path) -> list[Path]:
    return sorted((folder / "_delta_log").glob("*.json"))


def details(folder: Path) -> dict[str, object]:
    """What the newest commit says of itself."""
    lines = [json.loads(line) for line in log_entries(folder)[-1].read_text().splitlines()]
    found: dict[str, object] = next(line["commitInfo"]["deltakeep"] for line in lines if "commitInfo" in line)
    return found


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_project_of_the_previous_format_is_opened_and_continued(before: Workspace) -> None:
    assert "format" not in details(before.target("cities"))
    keeper = before.open()
    assert [record.view for record in keeper.history(limit=10)].count("cities") == 2
    assert keeper.paused() == {"large": "before the upgrade"}
    quiet = before.cycle(keeper)
    assert quiet["cities"].outcome in {"skipped", "committed"}
    keeper.resume("large")
    before.datasets["orders"].append([{"id": 4, "city": "Oslo", "amount": 40}])
    before.cycle(keeper)
    before.assert_right(about="after the upgrade")
    assert details(before.target("cities"))["format"] == 1
    assert all(one.equal for one in keeper.verify())
    keeper.close()
    again = before.open()
    assert again.paused() == {}
    assert before.cycle(again)["cities"].strategy == "skip"
    again.close()


def test_a_store_of_a_newer_format_is_not_opened_and_nothing_is_written(
    before: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in sorted((before.root / "state").iterdir()):
        first = log_entries(folder)[0]
        edit(first, '"deltakeep.project":"test"', '"deltakeep.project":"test","deltakeep.format":"2"')
    files = {path: path.stat().st_mtime_ns for path in before.root.rglob("*") if path.is_file()}
    for command in (("run", "--once"), ("status",), ("history",)):
        assert run(["-C", str(before.root), "-q", *command]) == EXIT_CONFIGURATION
        said = capsys.readouterr().err
        assert "error[newer_format]" in said
        assert "has format 2, and this version reads formats up to 1: a newer Deltakeep wrote it" in said
        assert "hint: install that version again" in said
    assert {path: path.stat().st_mtime_ns for path in before.root.rglob("*") if path.is_file()} == files


def test_a_view_that_a_newer_version_committed_is_left_alone_and_the_others_go_on(
    before: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = before.open()
    before.datasets["orders"].append([{"id": 4, "city": "Oslo", "amount": 40}])
    keeper.resume("large")
    before.cycle(keeper)
    keeper.close()
    edit(log_entries(before.target("cities"))[-1], '"format":1', '"format":2')
    before.datasets["orders"].append([{"id": 5, "city": "Bern", "amount": 50}])
    entries = len(log_entries(before.target("cities")))
    command = ["-C", str(before.root), "-q"]
    assert run([*command, "run", "--once"]) == EXIT_CONFIGURATION
    said = " ".join(capsys.readouterr().out.split())
    assert "has format 2, and this version reads formats up to 1: a newer Deltakeep keeps this view" in said
    assert len(log_entries(before.target("cities"))) == entries
    assert run([*command, "history", "cities", "-o", "json", "--limit", "1"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "newer_format"
    run([*command, "why", "cities"])
    assert "run one version of the project, the newest" in " ".join(capsys.readouterr().out.split())
    for way in ((), ("--digest",)):
        assert run([*command, "verify", "cities", "-o", "json", *way]) == EXIT_CHECK_FAILED
        assert json.loads(capsys.readouterr().out)["views"][0]["reason"] == "newer_format", way
    assert SourceTable(before.target("large"), ORDERS).content().num_rows == 4
