"""What a command prints: errors, JSON and tables.

Light: rich is imported only when a table is really drawn.
`NO_COLOR` (any value) and a stdout that is no terminal both switch colours off; `FORCE_COLOR` switches them on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from daemon.failure import Failure

if TYPE_CHECKING:
    from rich.console import Console

RED, YELLOW, GREEN, DIM, BOLD = "31", "33", "32", "2", "1"
PLAIN_WIDTH = 10_000
TERMINAL_STYLES = {
    "fresh": "green",
    "ok": "green",
    "committed": "green",
    "equal": "green",
    "unchanged": "green",
    "due": "yellow",
    "running": "cyan",
    "waiting": "yellow",
    "warning": "yellow",
    "late": "red",
    "failed": "red",
    "failure": "red",
    "different": "red",
    "paused": "magenta",
    "skip": "dim",
    "incremental": "green",
    "recompute": "yellow",
}


def coloured(stream: TextIO) -> bool:
    """Whether escape codes are welcome there."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str, code: str, stream: TextIO) -> str:
    """The text in a colour where colours are welcome."""
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(stream) else text


def show_failure(failure: Failure) -> None:
    """Print an error to stderr: what, where, and last what to do."""
    out = sys.stderr
    for trouble in failure.troubles:
        expected = f"; expected {trouble.expected}" if trouble.expected else ""
        out.write(f"{paint(trouble.where, BOLD, out)}: {trouble.what}{expected}\n")
        if trouble.hint:
            out.write(f"  hint: {trouble.hint}\n")
    out.write(f"{paint(f'error[{failure.code}]:', RED, out)} {failure.message}\n")
    if failure.where:
        out.write(f"  where: {failure.where}\n")
    if failure.hint:
        out.write(f"  hint: {failure.hint}\n")
    out.flush()


def show_json(value: Any) -> None:
    """Print JSON to stdout: two spaces, keys in the order of the contract."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def console() -> Console:
    """A rich console on stdout; off a terminal it is as wide as any row."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(
        file=sys.stdout,
        width=width,
        no_color=not coloured(sys.stdout),
        force_terminal=True if os.environ.get("FORCE_COLOR") else None,
        highlight=False,
        soft_wrap=False,
    )


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
    """Print a table; columns named in `right` are aligned right, known words are coloured."""
    from rich.table import Table
    from rich.text import Text

    aligned = set(right)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.upper(),
            justify="right" if column in aligned else "left",
            overflow="fold",
            no_wrap=column in aligned,
        )
    for row in rows:
        table.add_row(*(Text(cell := _cell(value), style=TERMINAL_STYLES.get(cell, "")) for value in row))
    out = console()
    if sys.stdout.isatty():
        out.print(table)
        return
    # A file or a pipe gets each row on one line, however long, and no padding at its end.
    with out.capture() as captured:
        out.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def show_line(text: str, code: str = "") -> None:
    """Print one line to stdout."""
    sys.stdout.write((paint(text, code, sys.stdout) if code else text) + "\n")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def bytes_text(count: int | float | None) -> str:
    """A size as people say it: `812 B`, `1.3 MB`.

    >>> bytes_text(1_300_000)
    '1.3 MB'
    """
    if count is None:
        return "–"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count_text(count: int | float | None) -> str:
    """A count with separators.

    >>> count_text(336776)
    '336,776'
    """
    return "–" if count is None else f"{count:,}"


def duration_text(milliseconds: int | float | None) -> str:
    """A duration with the two units that matter.

    >>> duration_text(95_000)
    '1 min 35 s'
    """
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole // 60, "min", whole % 60, "s")
    if whole < 86_400:
        return _two_units(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two_units(whole // 86_400, "d", whole % 86_400 // 3600, "h")


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "view"), counted(2, "view")
    ('1 view', '2 views')
    """
    return f"{count_text(count)} {noun}{'' if count == 1 else 's'}"


def share_text(part: int | float | None, whole: int | float | None) -> str:
    """How much of `whole` was saved when only `part` was needed: `99.2 %`."""
    if part is None or not whole:
        return "–"
    return f"{max(0.0, 1 - part / whole) * 100:.1f} %"
