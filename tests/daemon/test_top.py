"""`daemonctl top`: what needs a person first, within the terminal that there is."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from daemon.cli.application import run
from daemon.cli.board import Screen, board
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import running

STATUS: dict[str, Any] = {
    "project": "shop",
    "daemon": {
        "state": "running",
        "pid": 7,
        "version": "1",
        "in_hand": {"what": "cycle over 2 views", "elapsed_ms": 2_300},
        "pending": ["a", "b"],
        "views": {"good": {"state": "fresh", "lag_ms": 500}, "slow": {"state": "late", "lag_ms": 90_000, "failures": 3}}
        | {f"v{number}": {"state": "running"} for number in range(7)},
    },
    "views": [
        {"name": "good", "state": "fresh", "target_lag_ms": 60_000, "message": "No news."},
        {"name": "slow", "state": "fresh", "target_lag_ms": 60_000, "message": "No news."},
        {"name": "held", "state": "paused", "target_lag_ms": 60_000, "paused": "until noon"},
        {"name": "broken", "state": "failed", "target_lag_ms": 60_000, "message": "the disk is full"},
        *({"name": f"w{number:02}", "state": "fresh", "target_lag_ms": 60_000} for number in range(40)),
    ],
    "datasets": [{"name": "orders", "version": 4, "rows": 10, "bytes": 900}, {"name": "planes", "error": "gone"}],
}


def drawn(width: int, height: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(board(STATUS, Screen(width, height)))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_what_needs_a_person_comes_first_and_what_runs_is_told() -> None:
    lines = drawn(120, 60)
    assert lines[0].startswith("shop  daemon running, pid 7")
    assert "runs: cycle over 2 views, for 2.3 s; 2 views in the queue; refreshing v0, v1, v2, v3, v4 …" in lines[1]
    assert lines[2].split("  ") == ["1 failed", "1 late", "1 paused", "41 fresh"]
    names = [line.split()[0] for line in lines[5:9]]
    assert names == ["broken", "slow", "held", "good"]
    assert "the disk is full" in lines[5]
    assert {"late", "150%", "3"} <= set(lines[6].split())
    assert "until noon" in lines[7]
    datasets = [line.split()[0] for line in lines if line.startswith(("planes", "orders"))]
    assert datasets == ["planes", "orders"], "what cannot be read comes first"
    assert any(line.startswith("planes") and "✗ unreadable" in line and "gone" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(120, 24), (80, 24), (60, 16), (40, 12), (200, 60)])
def test_it_fits_into_any_terminal_and_counts_what_does_not(width: int, height: int) -> None:
    lines = drawn(width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("✗ failed" in line for line in lines)
    if height < 50:
        assert any(line.startswith("and ") and line.endswith("more views") for line in lines)


def test_once_asks_the_daemon_and_without_one_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deltakeep.toml").write_text('[project]\nname = "shop"\n')
    arguments = ["-C", str(tmp_path), "top", "--once"]

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()):
            assert await asyncio.to_thread(run, arguments) == 0

    asyncio.run(scenario())
    lines = [line for line in capsys.readouterr().out.splitlines() if "part=" not in line]
    assert {"clean", "daily", "fleet"} <= {line.split()[0] for line in lines if line}
    assert run(arguments) == 7
    assert "daemonctl status" in capsys.readouterr().err


def test_live_it_draws_in_the_terminal_and_q_ends_it(tmp_path: Path) -> None:
    (tmp_path / "deltakeep.toml").write_text('[project]\nname = "shop"\n')
    code = "import sys; from daemon.cli.application import run; sys.exit(run(sys.argv[1:]))"

    def watch() -> tuple[int, bytes]:
        ours, theirs = pty.openpty()
        words = [sys.executable, "-c", code, "-C", str(tmp_path), "top"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            seen = b""
            while b"fleet" not in seen and select.select([ours], [], [], 20)[0]:
                seen += os.read(ours, 65_536)
            os.write(ours, b"q")
            ended = process.wait(20)
        os.close(ours)
        return ended, seen

    async def scenario() -> tuple[int, bytes]:
        async with running(tmp_path, FakeKeeper()):
            return await asyncio.to_thread(watch)

    ended, seen = asyncio.run(scenario())
    assert ended == 0
    assert b"clean" in seen
