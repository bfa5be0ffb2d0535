"""`python -m benchmarks [name …] [--quick] [--out FILE]`: measure, print a table, write the results (README.md)."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import (
    adversarial,
    chain,
    change_feed,
    cold_start,
    fixed_cost,
    functions,
    idle_poll,
    idle_views,
    recompute,
    refresh,
    tpch_changes,
    tpch_refresh,
)
from benchmarks.measurement import Result, Selection, Setting
from benchmarks.results import HERE, keep, markdown, occasion, show

_ALL: Final = (
    cold_start,
    idle_poll,
    idle_views,
    fixed_cost,
    chain,
    recompute,
    change_feed,
    refresh,
    adversarial,
    functions,
    tpch_refresh,
)
BENCHMARKS: Final[dict[str, Callable[[Setting], Iterator[Result]]]] = {one.NAME: one.run for one in _ALL}
PURPOSES: Final = {one.NAME: (one.__doc__ or "").strip() for one in _ALL}
LONG: Final = frozenset({tpch_refresh.NAME})
"""Those that take hours: a full run leaves them out unless they are named."""


def main() -> int:
    """Run what was asked for; 2 for a name that does not exist, 1 if a benchmark broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure deltakeep against its rivals.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"one of {', '.join(BENCHMARKS)}; default all, without {', '.join(LONG)} unless --quick",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: all in a few minutes")
    parser.add_argument("--out", type=Path, help="the document to write (default benchmarks/results.md)")
    parser.add_argument(
        "--directory",
        type=Path,
        help="where to put the tables, and to keep those that take long (default: the temporary directory)",
    )
    parts = parser.add_argument_group(f"parts of {tpch_refresh.NAME}", "lists are separated by commas")
    parts.add_argument("--scale", type=float, help="scale factor (default 1, with --quick 0.01)")
    parts.add_argument("--views", type=_listed, default=(), help="such as q01,q05")
    parts.add_argument("--percents", type=_numbers, default=(), help="shares of the rows that change, such as 0.1,1")
    parts.add_argument("--kinds", type=_listed, default=(), help=f"of {', '.join(tpch_changes.KINDS)}")
    parts.add_argument("--rounds", type=int, help="changes of each kind (default 10, with --quick 2)")
    parts.add_argument(
        "--change-files", action="store_true", help="the tables have a change data feed, whose writer is trusted"
    )
    arguments = parser.parse_args()
    selection = Selection(
        arguments.scale,
        arguments.views,
        arguments.percents,
        arguments.kinds,
        arguments.rounds,
        arguments.change_files,
    )
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    console = Console(stderr=True)
    taken, began = occasion(quick=arguments.quick), time.perf_counter()
    results: list[Result] = []
    stored: list[Result] = []
    broken: list[str] = []
    for name in arguments.names or [one for one in BENCHMARKS if arguments.quick or one not in LONG]:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="deltakeep-bench-", dir=arguments.directory) as scratch:
            setting = Setting(
                scratch=Path(scratch),
                kept=arguments.directory or Path(scratch),
                quick=arguments.quick,
                tell=lambda text, name=name: console.print(f"{name}: {text}"),  # type: ignore[misc]
                selection=selection,
            )
            try:
                results += BENCHMARKS[name](setting)
            except Exception:  # noqa: BLE001 - the others are worth having; the trace is printed and the exit code tells
                console.print_exception()
                broken.append(name)
        console.print(f"{name}: {time.perf_counter() - started:.1f} s")
        # After each, so that an interrupted run loses only the one that ran.  A quick run says too little to be kept.
        if not arguments.quick:
            taken, stored = keep(taken, results, time.perf_counter() - began)
    show(Console(width=None if sys.stdout.isatty() else 200), results)
    target = arguments.out or (None if arguments.quick else HERE / "results.md")
    if target is not None:
        target.write_text(markdown(taken, stored or results, PURPOSES))
        console.print(f"wrote {target}")
    return 1 if broken else 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
