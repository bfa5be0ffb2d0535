"""Whether the work turns, and what the service manager is told about it, once a second.

Three parts have to turn: the *watcher* (looking for new versions), the *planner* (choosing the next cycle) and the
*committer* (the thread that runs the engine).  Each leaves a mark when it turned; a part whose mark is old stands.
A long refresh is no standstill: the committer also turns while the call in hand sends events or uses processor time.
Invariant: the watchdog is pinged only while no part stands, so that systemd replaces a service that only looks alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, assert_never

from daemon import lifecycle
from daemon.clock import Clock, cpu_of_other_threads_ms
from daemon.log import logger
from daemon.notify import ServiceNotifier
from daemon.worker import InHand, Priority, Worker
from registry.errors import RetryLater

Part = Literal["watcher", "planner", "committer"]
PARTS: Final[tuple[Part, ...]] = ("watcher", "planner", "committer")
TURN_S: Final = 5.0
"""How often a part that has nothing to do turns all the same."""
PATIENCE_MS: Final = 60_000
"""A part that has not turned for so long stands."""
WORK_PATIENCE_MS: Final = 600_000
"""So long may the call in hand show no sign: a store that hangs has its own, shorter, limits."""
SIGN_CPU_MS: Final = 250
"""Processor time outside of the event loop that counts as a sign of the call in hand."""
EXTENSION_MS: Final = 120_000
EXTEND_EVERY_MS: Final = 20_000


class Heartbeat:
    """The marks of the parts, and the messages to the service manager that follow from them."""

    def __init__(
        self,
        clock: Clock,
        notifier: ServiceNotifier,
        worker: Worker,
        cpu_ms: Callable[[], int] = cpu_of_other_threads_ms,
    ) -> None:
        """`cpu_ms` tells how much processor time the other threads of the process have used so far."""
        self._clock = clock
        self._notifier = notifier
        self._worker = worker
        self._cpu_ms = cpu_ms
        self._log = logger("heartbeat")
        now_ms = clock.monotonic_ms()
        self._marks: dict[Part, int] = dict.fromkeys(PARTS, now_ms)
        self._beaten_ms = now_ms
        self._pinged_ms: int | None = None
        self._extended_ms: int | None = None
        self._sign_cpu_ms = cpu_ms()
        self._probing = False
        self._seen: InHand | None = None
        self._told: tuple[Part, ...] = ()
        self._status = ""

    def begin(self) -> None:
        """All parts start to turn now."""
        self._marks = dict.fromkeys(PARTS, self._clock.monotonic_ms())

    def turned(self, part: Part) -> None:
        """A part turned."""
        self._marks[part] = self._clock.monotonic_ms()

    def standing(self, parts: tuple[Part, ...] = PARTS) -> tuple[Part, ...]:
        """The parts that do not turn; all of them if the event loop itself does not beat."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._beaten_ms > PATIENCE_MS:
            return parts
        working = self._worker.in_hand is not None
        patience = {"committer": WORK_PATIENCE_MS if working else PATIENCE_MS}
        return tuple(part for part in parts if now_ms - self._marks[part] > patience.get(part, PATIENCE_MS))

    def beat(self, parts: tuple[Part, ...], state: lifecycle.State, summary: Callable[[], str]) -> None:
        """One second has passed: look at the thread, ping the watchdog if `parts` turn, say how we are."""
        now_ms = self._beaten_ms = self._clock.monotonic_ms()
        self._look_at_worker()
        standing = self.standing(parts)
        if standing != self._told:
            self._told = standing
            if standing:
                in_hand = self._worker.in_hand
                self._log.error("not turning", parts=list(standing), in_hand=in_hand.label if in_hand else None)
            else:
                self._log.info("turning again")
        self._say(f"not turning: {', '.join(standing)}" if standing else self._status_line(state, summary))
        if standing:
            return
        interval_ms = self._notifier.watchdog_ms
        if interval_ms is not None and (self._pinged_ms is None or now_ms - self._pinged_ms >= interval_ms // 3):
            self._pinged_ms = now_ms
            self._notifier.alive()
        starting = isinstance(state, lifecycle.Starting)
        if starting and (self._extended_ms is None or now_ms - self._extended_ms >= EXTEND_EVERY_MS):
            self._extended_ms = now_ms
            self._notifier.extend(EXTENSION_MS)

    def _status_line(self, state: lifecycle.State, summary: Callable[[], str]) -> str:
        """How we are, in the words of `systemctl status`."""
        in_hand = self._worker.in_hand
        match state:
            case lifecycle.Starting():
                return "opening the project"
            case lifecycle.Running():
                return summary()
            case lifecycle.Draining(deadline_ms):
                left_s = max(0, deadline_ms - self._clock.monotonic_ms()) // 1000
                return f"draining: {in_hand.label}, {left_s} s left" if in_hand else "draining"
            case lifecycle.Stopped():
                return "stopped"
            case _:
                assert_never(state)

    def _say(self, status: str) -> None:
        """Keep the status line current; the same words are not sent twice."""
        if status != self._status:
            self._status = status
            self._notifier.status(status)

    def _look_at_worker(self) -> None:
        in_hand = self._worker.in_hand
        if in_hand is not self._seen:
            # A call began or ended since the last look.
            self._seen = in_hand
            self.turned("committer")
        if in_hand is None:
            self._probe()
            return
        used_ms = self._cpu_ms()
        if used_ms - self._sign_cpu_ms >= SIGN_CPU_MS:
            self._sign_cpu_ms = used_ms
            self.turned("committer")

    def _probe(self) -> None:
        """Send something that does nothing through the queue and the thread."""
        if self._probing or not self._worker.idle:
            return
        if self._clock.monotonic_ms() - self._marks["committer"] < TURN_S * 1000:
            return
        try:
            done = self._worker.submit(Priority.TURN, "turn", _nothing)
        except RetryLater:
            return
        self._probing = True

        def came_back(probe: object) -> None:
            self._probing = False
            # One that was refused while draining came back without the thread.
            if probe is done and not done.cancelled() and done.exception() is None:
                self.turned("committer")

        done.add_done_callback(came_back)


def _nothing() -> None:
    """Take a turn."""
