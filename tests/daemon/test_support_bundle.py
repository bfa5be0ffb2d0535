"""The support bundle: listed before it is written, redacted, and made of whatever can still be had."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.application import run
from daemon.log import LogControl, configure_logging, logger
from daemon.machine import cgroup_facts
from daemon.support_bundle import BundleExists, default_file, gather, write_bundle
from tests.daemon.fakes import FakeKeeper, ManualClock
from tests.daemon.running import running

PROJECT = """
# the old password was hunter2-in-a-comment
[project]
name = "shop"
[datasets.orders]
uri = "lake/orders"
storage_options = { aws_region = "shown-nowhere-1", aws_secret_access_key = "shown-nowhere-2" }
[daemon]
socket = "state/deltakeep.sock"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "clean.sql").write_text("SELECT 1 AS one -- shown-nowhere-2\n")
    (tmp_path / "deltakeep.toml").write_text(PROJECT)
    return tmp_path


def files(folder: Path) -> list[Path]:
    """All files; the engine makes a folder to spill to and takes it away when the process ends."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def parts(project: Path, **options: Any) -> dict[str, tuple[str, str]]:
    """What each part holds, and why it is missing."""
    found = gather(project, ManualClock(), **options)
    return {part.name: (part.data.decode(), part.missing) for part in found}


def test_the_project_file_comes_without_values_of_options_and_without_comments(project: Path) -> None:
    found = parts(project)
    text = found["project.toml"][0]
    assert 'uri = "lake/orders"' in text
    assert 'aws_region = "***"' in text
    everything = "".join(data for data, _ in found.values())
    assert "hunter2" not in everything
    assert "shown-nowhere-1" not in everything
    assert found["views/clean.sql"][0] == "SELECT 1 AS one -- ***\n"


def test_a_broken_project_leaves_out_only_what_needs_it(project: Path) -> None:
    (project / "deltakeep.toml").write_text('[project]\nname = "sh')
    found = parts(project)
    assert found["project.toml"][0] == ""
    assert found["status.json"][1]
    assert found["daemon.json"][1] == "no daemon runs"
    assert json.loads(found["machine.json"][0])["disks"]["project"]["writable"] is True
    assert json.loads(found["versions.json"][0])["formats"] == {"store": 1, "bundle": 1, "commit": 1}
    assert json.loads(found["doctor.json"][0])[-1]["level"] == "failure"
    assert "status.json: how each view and dataset is (not there: " in found["CONTENTS.txt"][0]


def test_with_a_daemon_there_are_stacks_metrics_and_the_last_lines_of_its_log(project: Path) -> None:
    async def scenario() -> None:
        async with running(project, FakeKeeper()) as one:
            await one.until(one.service.is_healthy)
            found = await asyncio.to_thread(parts, project)
            assert not [name for name, (_, missing) in found.items() if missing and name != "doctor.json"]
            assert json.loads(found["status.json"][0])["daemon"]["state"] == "running"
            assert json.loads(found["daemon.json"][0])["healthy"] is True
            assert "thread MainThread" in found["stacks.txt"][0]
            assert "task schedule" in found["stacks.txt"][0]
            assert "deltakeep_ready" in found["metrics.txt"][0]
            assert json.loads(found["history.json"][0]) == [{"view": None, "limit": 200}]

    asyncio.run(scenario())


def test_a_daemon_that_does_not_answer_is_asked_only_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.support_bundle.DAEMON_PATIENCE_S", 0.05)
    held = FakeKeeper()
    asked = []

    def stuck(*arguments: Any) -> None:
        asked.append(arguments[1])
        raise TimeoutError

    monkeypatch.setattr("daemon.client._UnixConnection.connect", lambda self: None)
    monkeypatch.setattr("daemon.client._UnixConnection.request", stuck)
    found = parts(project)
    assert len(asked) == 2, "once for doctor, once for the bundle"
    assert {found[name][1] for name in ("daemon.json", "log.jsonl", "status.json", "plans.json")} == {
        "the daemon stopped answering during 'diagnostics': TimeoutError"
    }
    assert not held.calls


def test_the_archive_is_readable_by_its_owner_only_and_never_overwrites(project: Path) -> None:
    file = project / "bundle.tar.gz"
    made = gather(project, ManualClock())
    written = write_bundle(file, made, ManualClock())
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (written, 0o600)
    with tarfile.open(file) as archive:
        names = archive.getnames()
    assert "deltakeep-support/CONTENTS.txt" in names
    assert "deltakeep-support/stacks.txt" not in names
    with pytest.raises(BundleExists) as caught:
        write_bundle(file, made, ManualClock())
    assert caught.value.exit_code == 6
    assert default_file(project, ManualClock()).name.startswith("deltakeep-support-")


def test_listing_writes_nothing_and_writing_lists_first(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    before = files(project)
    assert run(["-q", "support-bundle", "--list"]) == 0
    listed = capsys.readouterr().out
    assert files(project) == before
    assert listed.splitlines()[-1].endswith("parts; nothing was written")
    assert run(["-q", "support-bundle", "out.tar.gz"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[1:-1]] == [line.split()[0] for line in listed.splitlines()[1:-1]]
    assert told[-1].startswith('wrote "out.tar.gz", ')
    assert run(["-q", "support-bundle", "out.tar.gz"]) == 6
    assert capsys.readouterr().out == "", "it says so before it gathers anything"
    assert run(["-q", "support-bundle", "other.tar.gz", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == (project / answer["file"]).stat().st_size


def test_on_a_terminal_it_asks_and_no_is_no(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    assert run(["-q", "support-bundle", "out.tar.gz"]) == 130
    assert not (project / "out.tar.gz").exists()
    assert run(["-q", "support-bundle", "-y", "out.tar.gz"]) == 0


def test_limits_of_a_control_group_are_read(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("536870912\n")
    (tmp_path / "memory.high").write_text("max\n")
    facts = cgroup_facts([tmp_path])
    assert facts == {"memory.max": "536870912", "memory.high": "max"}


def test_the_ring_keeps_the_last_lines_and_the_level_can_be_changed(project: Path) -> None:
    logs = LogControl()

    async def scenario() -> None:
        configure_logging(ManualClock(), "json", level=logs.level, ring=logs.ring)
        async with running(project, FakeKeeper(), logs=logs) as one:
            assert await one.call("log_level") == {"level": "info", "before": "info"}
            assert await one.call("log_level", level="error") == {"level": "error", "before": "info"}
            logger("test").warning("not seen")
            assert await one.call("log_level", level="debug") == {"level": "debug", "before": "error"}
            found = await one.call("diagnostics")
            events = [json.loads(line)["event"] for line in found["log"]]
            assert events.count("log level changed") == 2
            assert "not seen" not in events
            assert "request" in events[-1]

    asyncio.run(scenario())
