"""What health checks see: over TCP, over the control socket by `daemonctl health`, and in the status line."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.cli.application import run
from daemon.heartbeat import PATIENCE_MS
from daemon.port import KeeperPort
from registry.errors import EXIT_CHECK_FAILED, EXIT_NOT_REACHABLE, DeltakeepError
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import PATIENCE_S, Running, running
from tests.sources import ROOT


def project(folder: Path) -> None:
    (folder / "deltakeep.toml").write_text('[project]\nname = "shop"\n')


async def health(one: Running, *arguments: str) -> int:
    return await asyncio.to_thread(run, ["-C", str(one.socket.parent.parent), "health", *arguments])


def test_health_is_asked_over_the_control_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(tmp_path)

    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            assert await health(one) == 0
            await one.until(lambda: all(one.service.ready_gates().values()))
            assert await health(one, "--ready") == 0
            told = capsys.readouterr().out
            assert "healthy\n" in told
            assert "ok  project loaded\nok  every view looked at\n" in told

    asyncio.run(scenario())
    assert run(["-C", str(tmp_path), "health"]) == EXIT_NOT_REACHABLE
    assert "no daemon answers" in capsys.readouterr().err


def test_a_part_that_stands_makes_the_service_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(tmp_path)

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            # The planner has ended for a reason that nobody foresaw.
            one.service._loops["schedule"].cancel()
            heart = one.service._heart
            heart._marks["planner"] -= PATIENCE_MS + 1_000
            assert one.service.is_healthy() is False
            assert (await one.get("/-/healthy"))[0] == 503
            assert await health(one) == EXIT_CHECK_FAILED

    asyncio.run(scenario())
    assert "the loops do not turn" in capsys.readouterr().out


def test_a_long_cycle_is_healthy(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(hold=threading.Event())
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: one.service.identity()["in_hand"] is not None)
            heart = one.service._heart
            heart._marks["committer"] -= 2 * PATIENCE_MS
            assert one.service.is_healthy()
            assert keeper.hold is not None
            keeper.hold.set()

    asyncio.run(scenario())


def test_started_means_that_the_project_is_open(tmp_path: Path) -> None:
    go = threading.Event()

    def slow() -> KeeperPort:
        go.wait(PATIENCE_S)
        return FakeKeeper()

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), open_keeper=slow) as one:
            await one.until(lambda: one.socket.exists() and one.service.public_address is not None)
            assert await one.get("/-/started") == (503, "opening the project\n")
            # Alive all the same: nobody shall kill it for planning a large project.
            assert (await one.get("/-/healthy"))[0] == 200
            go.set()
            await one.until(lambda: one.state == "running")
            assert await one.get("/-/started") == (200, "started\n")

    asyncio.run(scenario())


def test_the_status_line_names_what_needs_a_person_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(failing={"fleet"})
        async with running(tmp_path, keeper) as one:
            keeping = one.service._keeping
            await one.until(lambda: keeping.summary() == "3 views: 1 failed (fleet), 2 fresh")
            keeper.paused_views.add("clean")
            await one.call("pause", view="clean", reason="")
            assert keeping.summary() == "3 views: 1 failed (fleet), 1 paused, 1 fresh"
            keeper.reload_error = DeltakeepError("definition_invalid", "broken")
            with pytest.raises(Exception, match="broken"):
                await one.call("reload")
            assert keeping.summary().endswith("; definitions on disk are broken")

    asyncio.run(scenario())


def test_term_before_the_loop_is_there_ends_the_daemon_at_once() -> None:
    program = (
        "import os, signal, sys\n"
        "import daemon.cli.application as application\n"
        "from daemon.__main__ import main\n"
        # What a start does for its first half second, as long as the test needs.
        "application.run = lambda arguments: (print('starting', flush=True), signal.pause())\n"
        "main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "starting\n"
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 0
