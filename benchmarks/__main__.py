"""`python -m benchmarks [name …] [--quick] [--out FILE]`: run benchmarks, print a table, write the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import chain, change_feed, cold_start, functions, idle_poll, idle_views, recompute, refresh
from benchmarks.measurement import Result, Setting
from benchmarks.results import HERE, keep, markdown, occasion, show

BENCHMARKS: Final[dict[str, Callable[[Setting], Iterator[Result]]]] = {
    one.NAME: one.run for one in (cold_start, idle_poll, idle_views, chain, recompute, change_feed, refresh, functions)
}
PURPOSES: Final = {
    one.NAME: (one.__doc__ or "").strip()
    for one in (cold_start, idle_poll, idle_views, chain, recompute, change_feed, refresh, functions)
}


def main() -> int:
    """Run what was asked for; 2 for a name that does not exist, 1 if a benchmark broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure deltakeep against its rivals.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: under a minute")
    parser.add_argument("--out", type=Path, help="the document to write (default benchmarks/results.md)")
    parser.add_argument("--directory", type=Path, help="where to put the tables (default: the temporary directory)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    console = Console(stderr=True)
    taken, began = occasion(quick=arguments.quick), time.perf_counter()
    results: list[Result] = []
    stored: list[Result] = []
    broken: list[str] = []
    for name in arguments.names or BENCHMARKS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="deltakeep-bench-", dir=arguments.directory) as scratch:
            setting = Setting(Path(scratch), arguments.quick, lambda text, name=name: console.print(f"{name}: {text}"))  # type: ignore[misc]
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


if __name__ == "__main__":
    sys.exit(main())
