"""Who turns and who stands, what the watchdog hears of it, and what the status line says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon.clock import SystemClock, cpu_of_other_threads_ms
from daemon.heartbeat import PARTS, PATIENCE_MS, SIGN_CPU_MS, WORK_PATIENCE_MS, Heartbeat, Part
from daemon.lifecycle import Draining, Running, Starting, State
from daemon.notify import ServiceNotifier
from daemon.worker import Priority, Worker
from tests.daemon.fakes import ManualClock

PATIENCE_S = 10.0
WATCHDOG_MS = 3_000


@dataclass
class Beating:
    """A heart with a clock and a processor meter that a test moves, and what systemd heard."""

    clock: ManualClock
    worker: Worker
    heart: Heartbeat
    manager: socket.socket
    cpu: list[int] = field(default_factory=lambda: [0])

    def beat(self, seconds: int, state: State | None = None, parts: tuple[Part, ...] = PARTS) -> list[str]:
        """Let seconds pass, one beat each, and give what was heard."""
        heard = []
        for _ in range(seconds):
            self.clock.move(1_000)
            self.heart.beat(parts, state or Running(), lambda: "3 views: 3 fresh")
            heard += self.heard()
        return heard

    def heard(self) -> list[str]:
        found = []
        try:
            while True:
                found.append(self.manager.recv(4096).decode())
        except BlockingIOError:
            return found


@contextmanager
def beating(folder: Path) -> Iterator[Beating]:
    address = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(WATCHDOG_MS * 1000)}
        clock, cpu = ManualClock(), [0]
        worker = Worker(clock)
        heart = Heartbeat(clock, ServiceNotifier(environment, os.getpid()), worker, lambda: cpu[0])
        yield Beating(clock, worker, heart, manager, cpu)
        worker.close()


def turn_all(one: Beating, *but: Part) -> Callable[[], None]:
    def turn() -> None:
        for part in PARTS:
            if part not in but:
                one.heart.turned(part)

    return turn


def test_the_watchdog_is_pinged_every_third_of_its_time_while_all_parts_turn(tmp_path: Path) -> None:
    async def scenario() -> None:
        with beating(tmp_path) as one:
            pings = 0
            for _ in range(9):
                turn_all(one)()
                pings += one.beat(1).count("WATCHDOG=1")
            assert pings == 9

    asyncio.run(scenario())


def test_each_part_alone_silences_the_watchdog_when_it_stands(tmp_path: Path) -> None:
    async def scenario() -> None:
        for index, part in enumerate(PARTS):
            folder = tmp_path / str(index)
            folder.mkdir()
            with beating(folder) as one:
                for _ in range(PATIENCE_MS // 1000):
                    turn_all(one, part)()
                    assert one.heart.standing() == ()
                    one.beat(1)
                turn_all(one, part)()
                heard = one.beat(5)
                assert one.heart.standing() == (part,)
                assert "WATCHDOG=1" not in heard
                assert f"STATUS=not turning: {part}" in heard
                one.heart.turned(part)
                turn_all(one)()
                assert "WATCHDOG=1" in one.beat(1)

    asyncio.run(scenario())


def test_an_idle_thread_is_probed_and_a_worker_that_does_not_run_stands(tmp_path: Path) -> None:
    async def scenario() -> None:
        with beating(tmp_path) as one:
            working = asyncio.create_task(one.worker.run())
            for _ in range(2 * PATIENCE_MS // 1000):
                one.beat(1, parts=("committer",))
                if one.worker.queued:
                    while not one.worker.idle:  # noqa: ASYNC110 - the thread answers at once
                        await asyncio.sleep(0.001)
                    await asyncio.sleep(0)
            assert one.heart.standing(("committer",)) == ()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            one.beat(PATIENCE_MS // 1000 + 1, parts=("committer",))
            assert one.heart.standing(("committer",)) == ("committer",)

    asyncio.run(scenario())


def test_a_long_call_that_computes_turns_and_one_that_hangs_stands(tmp_path: Path) -> None:
    async def scenario() -> None:
        with beating(tmp_path) as one:
            go, working = threading.Event(), asyncio.create_task(one.worker.run())
            call = one.worker.submit(Priority.CYCLE, "a long cycle", lambda: go.wait(PATIENCE_S))
            while one.worker.in_hand is None:  # noqa: ASYNC110 - the thread begins at once
                await asyncio.sleep(0.001)
            minutes = 2 * WORK_PATIENCE_MS // 60_000
            for _ in range(minutes):
                one.cpu[0] += SIGN_CPU_MS
                one.beat(60, parts=("committer",))
                assert one.heart.standing(("committer",)) == ()
            one.beat(WORK_PATIENCE_MS // 1000 + 1, parts=("committer",))
            assert one.heart.standing(("committer",)) == ("committer",)
            go.set()
            await call
            working.cancel()

    asyncio.run(scenario())


def test_an_event_loop_that_does_not_beat_turns_no_part(tmp_path: Path) -> None:
    with beating(tmp_path) as one:
        one.clock.move(PATIENCE_MS + 1)
        turn_all(one)()
        assert one.heart.standing() == PARTS
        one.heart.beat(PARTS, Running(), str)
        assert one.heart.standing() == ()


def test_starting_asks_for_more_time_and_draining_says_what_it_waits_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        with beating(tmp_path) as one:
            heard = one.beat(21, Starting(), ("committer",))
            assert heard.count("EXTEND_TIMEOUT_USEC=120000000") == 2
            assert heard.count("STATUS=opening the project") == 1
            assert one.beat(2).count("STATUS=3 views: 3 fresh") == 1
            go, working = threading.Event(), asyncio.create_task(one.worker.run())
            call = one.worker.submit(Priority.CYCLE, "cycle over 3 views", lambda: go.wait(PATIENCE_S))
            while one.worker.in_hand is None:  # noqa: ASYNC110 - the thread begins at once
                await asyncio.sleep(0.001)
            deadline = Draining(one.clock.monotonic_ms() + 30_000)
            assert "STATUS=draining: cycle over 3 views, 29 s left" in one.beat(1, deadline, ("committer",))
            go.set()
            await call
            working.cancel()

    asyncio.run(scenario())


def test_the_processor_time_of_other_threads_leaves_out_our_own() -> None:
    before, began_ns = cpu_of_other_threads_ms(), time.thread_time_ns()
    while time.thread_time_ns() - began_ns < 100_000_000:
        pass
    assert cpu_of_other_threads_ms() - before < 25
    # A hash of much data computes outside of the interpreter's lock.
    import hashlib

    other = threading.Thread(target=lambda: hashlib.sha256(bytes(80_000_000)).digest())
    other.start()
    other.join()
    assert cpu_of_other_threads_ms() - before > 25


def test_a_service_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        notifier, clock = ServiceNotifier({"NOTIFY_SOCKET": str(address)}, os.getpid()), SystemClock()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
            filling.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    filling.sendto(b"full", str(address))
        began_ms = clock.monotonic_ms()
        notifier.alive()
        assert clock.monotonic_ms() - began_ms < 5_000
