"""The board of `daemonctl top`: one screen from one answer of `status`.

Pure.  What needs a person comes first; what does not fit is counted; narrow terminals lose columns, never states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from daemon.cli.show import TERMINAL_STYLES, bytes_text, count_text, counted, duration_text
from daemon.view_state import STATE_ORDER, lag_of, state_of

Json = Mapping[str, Any]
WIDE: Final = 100
NARROW: Final = 70
FIXED_LINES: Final = 10
"""Lines that are no rows: the head, two heads of columns, two counts of what is left out, and what parts them."""
DATASETS_SHARE: Final = 4
"""One line in so many is for datasets at most."""
MARKS: Final = {
    "fresh": "✓",
    "running": "↻",
    "paused": "‖",
    "late": "!",
    "failed": "✗",
    "refused": "✗",
    "not_planned": "✗",
    "unreadable": "✗",
    "readable": "✓",
    "waiting": "…",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """How much room there is."""

    width: int
    height: int


def board(status: Json, screen: Screen) -> Group:
    """The whole screen."""
    daemon: Json = status.get("daemon") or {}
    live: Json = daemon.get("views", {})
    views = sorted(
        ((state_of(view, live.get(view.get("name"), {})), view) for view in status.get("views", ())),
        key=lambda item: (STATE_ORDER.index(item[0]) if item[0] in STATE_ORDER else 99, str(item[1].get("name"))),
    )
    datasets = sorted(status.get("datasets", ()), key=lambda one: (not one.get("error"), str(one.get("name"))))
    room = max(2, screen.height - FIXED_LINES)
    datasets_room = min(len(datasets), max(1, room // DATASETS_SHARE))
    views_room = max(1, room - datasets_room)
    return Group(
        *_head(status, daemon, [state for state, _ in views]),
        Text(),
        _views(views[:views_room], live, screen),
        *_more(len(views) - views_room, "view"),
        Text(),
        _datasets(datasets[:datasets_room], screen),
        *_more(len(datasets) - datasets_room, "dataset"),
    )


def _head(status: Json, daemon: Json, states: Sequence[str]) -> list[Text]:
    """Three lines: what is kept, what runs and waits, how the views are."""
    who = f"daemon {daemon.get('state', 'unknown')}, pid {daemon.get('pid')}, version {daemon.get('version')}"
    title = Text.assemble((str(status.get("project") or "deltakeep"), "bold"), f"  {who}")
    in_hand = daemon.get("in_hand")
    doing = f"runs: {in_hand['what']}, for {duration_text(in_hand['elapsed_ms'])}" if in_hand else "nothing runs"
    running = sorted(name for name, one in daemon.get("views", {}).items() if one.get("state") == "running")
    now = Text(f"{doing}; {counted(len(daemon.get('pending', ())), 'view')} in the queue")
    if running:
        now.append(f"; refreshing {', '.join(running[:5])}{' …' if len(running) > 5 else ''}", "cyan")
    counts = Counter(states)
    summary = Text()
    for state in (*STATE_ORDER, *sorted(set(counts) - set(STATE_ORDER))):
        if counts[state]:
            summary.append(f"{counts[state]} {state}  ", TERMINAL_STYLES.get(state, ""))
    lines = [title, now, summary]
    if daemon.get("definitions_failure"):
        lines[1] = Text("definitions on disk are broken, the old ones stay: `daemonctl check` tells", "red")
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _views(views: Sequence[tuple[str, Json]], live: Json, screen: Screen) -> Table:
    table = _table("VIEW", "STATE")
    table.add_column("AGE", justify="right", no_wrap=True)
    table.add_column("TARGET", justify="right", no_wrap=True)
    if screen.width >= NARROW:
        table.add_column("OF IT", justify="right", no_wrap=True)
        table.add_column("FAILURES", justify="right", no_wrap=True)
    if screen.width >= WIDE:
        table.add_column("ROWS", justify="right", no_wrap=True)
        table.add_column("NOTE", no_wrap=True, overflow="ellipsis", ratio=1)
    for state, view in views:
        now: Json = live.get(str(view.get("name")), {})
        lag_ms, target_ms = lag_of(view, now), view.get("target_lag_ms")
        cells = [
            Text(str(view.get("name"))),
            _state(state),
            Text(duration_text(lag_ms)),
            Text(duration_text(target_ms)),
        ]
        if screen.width >= NARROW:
            cells.append(Text(_share(lag_ms, target_ms)))
            cells.append(Text(str(now.get("failures") or "–")))
        if screen.width >= WIDE:
            note = view.get("paused") if state == "paused" else view.get("message")
            cells += [Text(count_text(view.get("rows"))), _note(note)]
        table.add_row(*cells)
    return table


def _datasets(datasets: Sequence[Json], screen: Screen) -> Table:
    table = _table("DATASET", "STATE")
    table.add_column("VERSION", justify="right", no_wrap=True)
    if screen.width >= NARROW:
        table.add_column("ROWS", justify="right", no_wrap=True)
        table.add_column("SIZE", justify="right", no_wrap=True)
    if screen.width >= WIDE:
        table.add_column("NOTE", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in datasets:
        version = one.get("version")
        cells = [
            Text(str(one.get("name"))),
            _state("unreadable" if one.get("error") else "readable"),
            Text("–" if version is None else str(version)),
        ]
        if screen.width >= NARROW:
            cells += [Text(count_text(one.get("rows"))), Text(bytes_text(one.get("bytes")))]
        if screen.width >= WIDE:
            cells.append(_note(one.get("error")))
        table.add_row(*cells)
    return table


def _table(name: str, state: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(state, no_wrap=True)
    return table


def _state(state: str) -> Text:
    return Text(f"{MARKS.get(state, '○')} {state}", TERMINAL_STYLES.get(state, ""))


def _note(text: Any) -> Text:
    """A note on one line, however many it has."""
    return Text(" ".join(str(text or "").split()))


def _share(lag_ms: int | None, target_ms: int | None) -> str:
    return "–" if lag_ms is None or not target_ms else f"{lag_ms / target_ms:.0%}"


def _more(count: int, noun: str) -> list[Text]:
    return [Text(f"and {count_text(count)} more {noun}{'' if count == 1 else 's'}", "dim")] if count > 0 else []
