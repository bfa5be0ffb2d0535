"""Two services keep one project, several views at a time; one of them is killed again and again, data keeps coming."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from daemon.client import DaemonClient
from tests.simulation.chain import (
    assert_frontiers_only_advance,
    assert_settled,
    assert_sound,
    declared,
    delete_and_update_orders,
    orders,
    versions,
)
from tests.simulation.test_random_kills import MORE_VIEWS
from tests.sources import ROOT
from tests.workspace import Workspace

PATIENCE_S: Final = 30.0
DEATHS: Final = 3
SEED: Final = 11


@contextmanager
def service(workspace: Workspace, name: str) -> Iterator[subprocess.Popen[str]]:
    """Start a service with a control socket of its own, and wait until it keeps the views."""
    command = [sys.executable, "-m", "daemon", "-C", str(workspace.root), "--no-listen"]
    socket = workspace.root / f"{name}.sock"
    started = subprocess.Popen(
        [*command, "--socket", str(socket), "--log", "json"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    seen: list[str] = []
    running = threading.Event()

    def listen() -> None:
        assert started.stderr is not None
        for line in started.stderr:
            seen.append(line)
            if '"after": "running"' in line:
                running.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert running.wait(PATIENCE_S), "".join(seen)
        yield started
    finally:
        started.kill()
        started.wait(PATIENCE_S)
        listener.join(PATIENCE_S)
        assert started.stderr is not None
        started.stderr.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that services do; fail if they do not."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the services do not get there")


def test_a_service_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    workspace = declared(tmp_path)
    for name, query in MORE_VIEWS.items():
        workspace.view(name, query)
    workspace.settings = "concurrency = 3"
    workspace.configure()
    table = workspace.datasets["orders"]
    with ExitStack() as running:
        survivor = running.enter_context(service(workspace, "survivor"))
        for number in range(DEATHS):
            with service(workspace, f"mortal_{number}") as mortal:
                before = sum(versions(workspace).values())
                for burst in range(chance.randint(1, 3)):
                    table.append(orders(1_000 * number + 10 * burst, 4))
                delete_and_update_orders(workspace)
                wanted = before + chance.randint(1, len(workspace.views))
                until(lambda wanted=wanted: sum(versions(workspace).values()) >= wanted)  # type: ignore[misc]
                mortal.send_signal(signal.SIGKILL)
                assert mortal.wait(PATIENCE_S) == -signal.SIGKILL
        client = DaemonClient(tmp_path / "survivor.sock", timeout_s=PATIENCE_S)
        newest = table.version

        def caught_up() -> bool:
            report = client.call("status", {}, None)
            return all(view["state"] == "fresh" for view in report["views"]) and table.version == newest

        until(caught_up)
        workspace.assert_right(about="while the survivor runs")
        survivor.send_signal(signal.SIGTERM)
        assert survivor.wait(PATIENCE_S) == 0
    workspace.clock.step(3_600_000)
    assert_frontiers_only_advance(workspace)
    assert_sound(workspace)
    assert_settled(workspace)
