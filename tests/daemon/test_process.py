"""The service as a process of its own, with signals and a fake keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.client import DaemonClient, NoDaemon
from daemon.failure import Failed

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20
SLOW = """
import sys, threading, types
sys.path.insert(0, {root!r})
from tests.daemon.fakes import FakeKeeper

class Stubborn(FakeKeeper):
    '''Does not listen to `cancel`, as an engine that is stuck.'''
    def cancel(self):
        print("cancelled", file=sys.stderr, flush=True)

keeper = Stubborn(hold=threading.Event() if {held} else None)
module = types.ModuleType("daemon.live_keeper")
module.open_keeper = lambda root, clock: keeper
sys.modules["daemon.live_keeper"] = module
from daemon.__main__ import main
sys.argv = ["deltakeep", "-C", {folder!r}, "--listen", "127.0.0.1:0"]
main()
"""


@contextmanager
def process(folder: Path, *, held: bool) -> Iterator[tuple[subprocess.Popen[str], DaemonClient]]:
    folder.mkdir(exist_ok=True)
    (folder / "deltakeep.toml").write_text('[project]\nname = "shop"\n')
    (folder / "views").mkdir(exist_ok=True)
    program = SLOW.format(root=str(ROOT), folder=str(folder), held=held)
    started = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    client = DaemonClient(folder / "state" / "deltakeep.sock", timeout_s=PATIENCE_S)
    try:
        wait_for_line(started, '"running"')
        yield started, client
    finally:
        started.kill()
        started.communicate(timeout=PATIENCE_S)


def wait_for_line(started: subprocess.Popen[str], text: str) -> str:
    assert started.stderr is not None
    seen = []
    for line in started.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError("".join(seen))


def test_term_drains_and_leaves_with_zero(tmp_path: Path) -> None:
    with process(tmp_path, held=False) as (started, client):
        assert client.call("status", {}, None)["daemon"]["pid"] == started.pid
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 0
    assert not (tmp_path / "state" / "deltakeep.sock").exists()


def test_a_second_term_ends_even_an_engine_that_is_stuck(tmp_path: Path) -> None:
    with process(tmp_path, held=True) as (started, _):
        started.send_signal(signal.SIGTERM)
        wait_for_line(started, '"after": "draining"')
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 130


def test_interrupt_is_answered_like_term(tmp_path: Path) -> None:
    with process(tmp_path, held=False) as (started, _):
        started.send_signal(signal.SIGINT)
        assert started.wait(PATIENCE_S) == 0


def test_hangup_reads_the_definitions_again_and_usr1_shows_stacks(tmp_path: Path) -> None:
    with process(tmp_path, held=False) as (started, _):
        started.send_signal(signal.SIGHUP)
        wait_for_line(started, '"reloaded"')
        started.send_signal(signal.SIGUSR1)
        assert '"summary": "' in wait_for_line(started, '"event": "state"')
        assert '"MainThread"' in wait_for_line(started, "service.py")
        assert started.poll() is None


def test_killed_at_any_moment_the_next_start_works(tmp_path: Path) -> None:
    for _ in range(2):
        with process(tmp_path, held=False) as (started, client):
            client.call("status", {}, None)
            os.kill(started.pid, signal.SIGKILL)
            started.wait(PATIENCE_S)
            with pytest.raises((NoDaemon, Failed)):
                client.call("status", {}, None)
        assert (tmp_path / "state" / "deltakeep.sock").exists()


def test_a_client_that_goes_away_in_the_middle_does_not_hurt(tmp_path: Path) -> None:
    with process(tmp_path, held=False) as (started, client):
        hasty = DaemonClient(tmp_path / "state" / "deltakeep.sock", timeout_s=0.0001)
        for _ in range(5):
            with pytest.raises((Failed, OSError)):
                hasty.call("refresh", {"views": ["clean"]}, None)
        assert client.call("why", {"view": "clean"}, None) == {"view": "clean"}
        assert started.poll() is None
