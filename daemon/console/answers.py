"""Answers for pages: those of the operations, with patience, and those from before while the keeper is busy.

A long refresh keeps the keeper busy for minutes.  A page is then shown what was known, with its age and what runs,
instead of nothing.
Invariant: many pages that ask the same at the same time cost one operation.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from daemon.caller import Caller
from daemon.clock import Clock
from daemon.exchange import ignore
from daemon.port import JsonValue
from registry.errors import RetryLater

if TYPE_CHECKING:
    from daemon.control import ControlTarget

PATIENCE_S: Final = 1.5
PATIENCE_FIRST_S: Final = 20.0
HAPPENED_FRESH_MS: Final = 500
KEPT_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered, when, and after which event; `busy` is what the keeper does instead of answering."""

    value: JsonValue
    at_ms: int
    number: int
    busy: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """The answer for pages."""
        return {"value": self.value, "at_ms": self.at_ms, "busy": self.busy}


class Answers:
    """The answers of operations that only look."""

    def __init__(self, target: ControlTarget, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Answer]] = {}

    async def ask(
        self, caller: Caller, operation: str, parameters: Mapping[str, JsonValue], *, fresh_ms: int = 0
    ) -> Answer:
        """Ask, or give what is younger than `fresh_ms`, or what is older while the keeper is busy.

        What was answered before something happened is fresh for half a second at most.
        """
        # Of callers only the role decides what they may ask, so that they share answers by it.
        key = json.dumps([caller.role, operation, dict(parameters)], sort_keys=True)
        kept = self._kept.get(key)
        if kept is not None and self._clock.now_ms() - kept.at_ms < self._fresh_for_ms(kept, fresh_ms):
            return kept
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, caller, operation, parameters), name=f"ask-{operation}")
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(task), PATIENCE_FIRST_S if kept is None else PATIENCE_S)
        except TimeoutError:
            busy = self._busy()
            if kept is not None:
                return replace(kept, busy=busy)
            raise RetryLater("busy", f"{busy} runs; the answer has to wait", hint="repeat in a moment") from None

    async def _ask(self, key: str, caller: Caller, operation: str, parameters: Mapping[str, JsonValue]) -> Answer:
        at_ms = self._clock.now_ms()
        number = self._target.events.number
        found = Answer(await self._target.perform(operation, parameters, ignore, caller), at_ms, number)
        self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found

    def _fresh_for_ms(self, kept: Answer, fresh_ms: int) -> int:
        return fresh_ms if kept.number == self._target.events.number else min(fresh_ms, HAPPENED_FRESH_MS)

    def _asked(self, key: str, task: asyncio.Task[Answer]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, nobody misses it

    def _busy(self) -> str:
        in_hand = self._target.live().get("in_hand")
        return str(in_hand["what"]) if in_hand else "something else"
