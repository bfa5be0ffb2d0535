"""Watches the native engine: how long each call takes, and the phases that refreshes report about themselves."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

from registry.session import SessionRuntime


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call of the engine; `view` and the JSON `answer` are known for refreshes and their plans."""

    method: str
    view: str
    wall_ms: float
    answer: dict[str, Any]


class Recorder:
    """Stands before an engine and keeps what its calls took; everything else passes through."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return self._recorded(name, found) if callable(found) else found

    def _recorded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            answer = method(*arguments, **named)
            wall_ms = (time.perf_counter() - began) * 1000
            refreshing = name in {"refresh", "plan_refresh"}
            view = json.loads(arguments[0])["view"]["name"] if refreshing else ""
            self.calls.append(Call(name, view, wall_ms, json.loads(answer) if refreshing else {}))
            return answer

        return call

    def drain(self) -> list[Call]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


def record(runtime: SessionRuntime) -> tuple[SessionRuntime, Recorder]:
    """The runtime with a recorder before its engine."""
    recorder = Recorder(runtime.engine)
    return dataclasses.replace(runtime, engine=cast(Any, recorder)), recorder


def spent(rounds: list[list[Call]]) -> dict[str, float]:
    """Median milliseconds of a round by what they were spent on: `refresh.<phase>`, else the name of the call."""
    totals: dict[str, list[float]] = {}
    for number, calls in enumerate(rounds):
        for call in calls:
            phases: dict[str, float] = call.answer.get("elapsed_ms", {}) if call.method == "refresh" else {}
            for phase, took_ms in phases.items():
                _add(totals, f"refresh.{phase}", number, took_ms)
            _add(totals, "refresh.rest" if phases else call.method, number, call.wall_ms - sum(phases.values()))
    found = {what: statistics.median([*took, *[0.0] * (len(rounds) - len(took))]) for what, took in totals.items()}
    return {what: round(took, 2) for what, took in sorted(found.items(), key=lambda one: -one[1])}


def largest(phases: dict[str, float], count: int = 3) -> str:
    """The largest phases as one short text."""
    return ", ".join(f"{what} {took:.1f}" for what, took in list(phases.items())[:count])


def _add(totals: dict[str, list[float]], what: str, number: int, took_ms: float) -> None:
    took = totals.setdefault(what, [])
    took.extend([0.0] * (number + 1 - len(took)))
    took[number] += took_ms
