"""Where the process is: the stacks of its threads and of its tasks, for the log and for the support bundle.

Shows names and places in the code, never the values of variables.
Works from any thread, so that an event loop that is stuck is shown as well.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from daemon.log import LogControl, logger
from daemon.signals import SHOWING_THREAD

STACK_DEPTH = 40


class Diagnosis:
    """Answers what is asked about the daemon itself: at once, without a keeper, and waiting for nobody."""

    def __init__(
        self, logs: LogControl, state: Callable[[], Mapping[str, Any]], exposition: Callable[[], bytes]
    ) -> None:
        """Made in the event loop that it tells about; `state` is called in any thread."""
        self._logs = logs
        self._state = state
        self._exposition = exposition
        self._log = logger("service")
        self._event_loop = asyncio.get_running_loop()

    def answer(self, operation: str, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The answer to an operation about the daemon; None for every other operation."""
        match operation:
            case "log_level":
                return self._logs.change(given["level"], self._log)
            case "diagnostics":
                return {
                    **self._state(),
                    "log_level": self._logs.level.name,
                    "threads": thread_stacks(),
                    "tasks": task_stacks(self._event_loop),
                    "log": self._logs.ring.lines(),
                    "metrics": self._exposition().decode(),
                }
            case _:
                return None

    def show(self) -> None:
        """Write state and stacks to the log, whatever its level; called from a thread of its own."""
        self._log.info("state", asked=True, log_level=self._logs.level.name, **self._state())
        for one in (*thread_stacks(but=SHOWING_THREAD), *task_stacks(self._event_loop)):
            self._log.info("stack", asked=True, **one)


def thread_stacks(*, but: str = "") -> list[dict[str, Any]]:
    """Each thread with its stack, the innermost call last, without the one of the name `but`."""
    names = {thread.ident: thread for thread in threading.enumerate() if thread.name != but}
    hidden = {thread.ident for thread in threading.enumerate() if thread.name == but}
    found = []
    # The only way to see other threads.
    for ident, frame in sys._current_frames().items():  # noqa: SLF001
        if ident in hidden:
            continue
        thread = names.get(ident)
        found.append({"thread": thread.name if thread is not None else f"native {ident}", "stack": _lines(frame)})
    return found


def task_stacks(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """Each task of an event loop, with where it waits."""
    return [
        {"task": task.get_name(), "stack": [line for frame in task.get_stack(limit=8) for line in _lines(frame)[-1:]]}
        for task in asyncio.all_tasks(loop)
    ]


def stacks_text(threads: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> str:
    """The stacks for people."""
    return "\n".join(
        f"{kind} {one[kind]}\n" + "".join(f"  {line}\n" for line in one["stack"])
        for kind, items in (("thread", threads), ("task", tasks))
        for one in items
    )


def _lines(frame: FrameType) -> list[str]:
    entries = traceback.extract_stack(frame)[-STACK_DEPTH:]
    return [f"{entry.filename}:{entry.lineno} {entry.name}" for entry in entries]
