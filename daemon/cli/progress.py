"""Progress of long work, on stderr: a live region on a terminal, timestamped lines otherwise.

The first line is written with the standard library alone; rich is loaded when the first event comes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from daemon.clock import Clock, SystemClock, clock_text

if TYPE_CHECKING:
    from rich.live import Live

SHOWN_MAX = 12
CLEAR_LINE = "\x1b[2K\r"


class Progress:
    """Shows the events of a cycle while it runs; a context manager that cleans up after itself."""

    def __init__(self, what: str, *, quiet: bool, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._live: Live | None = None
        self._running: dict[str, tuple[str, int]] = {}
        self._done = 0
        self._what = what

    def __enter__(self) -> Self:
        if not self._quiet:
            if self._terminal:
                self._write(f"{self._what} …\r")
            else:
                self._line(self._what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._terminal and not self._quiet:
            self._write(CLEAR_LINE)

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event of a cycle: `kind`, `view`, and what belongs to the kind."""
        kind, view = str(event.get("kind", "")), event.get("view")
        if view is not None:
            self._follow(kind, str(view), event)
        if self._quiet:
            return
        if self._terminal:
            self._draw()
        elif (line := event_text(kind, view, event)) is not None:
            self._line(line)

    def say(self, text: str) -> None:
        """Print a line of the story to stdout, above the live region where there is one."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._terminal and not self._quiet:
            self._write(CLEAR_LINE)
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _follow(self, kind: str, view: str, fields: Mapping[str, Any]) -> None:
        match kind:
            case "refresh_planned":
                self._running[view] = (str(fields.get("strategy", "")), self._clock.monotonic_ms())
            case "refresh_step":
                strategy = self._running.get(view, ("", self._clock.monotonic_ms()))
                step = str(fields.get("step", ""))
                self._running[view] = (f"{strategy[0].split(' · ')[0]} · {step}", strategy[1])
            case "refresh_finished" | "view_skipped":
                self._running.pop(view, None)
                self._done += 1
            case _:
                return

    def _draw(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(file=sys.stderr), transient=True, refresh_per_second=8)
            self._live.start()
        now = self._clock.monotonic_ms()
        lines = [
            Text(f"  {view}  {doing}  {(now - since) / 1000:.1f} s")
            for view, (doing, since) in list(self._running.items())[:SHOWN_MAX]
        ]
        if len(self._running) > SHOWN_MAX:
            lines.append(Text(f"  and {len(self._running) - SHOWN_MAX} more"))
        self._live.update(Group(Spinner("dots", f"{self._what}: {self._done} views done"), *lines))

    def _line(self, text: str) -> None:
        self._write(f"{clock_text(self._clock.now_ms())} {text}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def event_text(kind: str, view: Any, fields: Mapping[str, Any]) -> str | None:
    """One event as a plain line, or None for those that are only interesting live."""
    match kind:
        case "waiting":
            return f"waiting, the daemon is busy: {fields.get('what', '')}"
        case "refresh_planned":
            return f"{view}: {fields.get('strategy', '')}, {fields.get('reason', '')}"
        case "refresh_finished":
            return f"{view}: {fields.get('outcome', 'done')}"
        case "view_skipped":
            return f"{view}: skip, {fields.get('reason', '')}"
        case _:
            return None
