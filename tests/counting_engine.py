"""The native engine behind a counter, and the work of our own Python: what a test says about cost without a clock."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import datafusion_ext
from registry.project import load_project
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests.sources import PACKAGES, ROOT

OURS: Final = tuple(f"{ROOT / package}/" for package in PACKAGES)


class CountingEngine:
    """Passes every call on to a real engine and counts it by name; `before` may do something first."""

    def __init__(self, engine: datafusion_ext.Engine) -> None:
        self.asked: Counter[str] = Counter()
        self.before: Callable[[str, tuple[Any, ...]], None] = lambda name, arguments: None
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.asked[name] += 1
            self.before(name, arguments)
            return found(*arguments, **options)

        return counted


def counting_runtime(root: Path) -> tuple[SessionRuntime, CountingEngine]:
    """Build the session of a project over a counting engine."""
    profile = RuntimeProfile.of(load_project(root).engine)
    engine = CountingEngine(
        datafusion_ext.Engine(
            settings=dict(profile.settings), target_partitions=profile.target_partitions, durable=profile.durable
        )
    )
    return build_session_runtime(profile, cast("datafusion_ext.Engine", engine)), engine


@contextmanager
def lines_of_our_code() -> Iterator[Counter[str]]:
    """Count the lines of the shipped packages that this thread executes meanwhile, by function."""
    found: Counter[str] = Counter()

    def line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            found[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"] += 1
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        return line if frame.f_code.co_filename.startswith(OURS) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield found
    finally:
        sys.settrace(before)
