"""From the start of a process to its first cycle done, on a project with 20 views; and to a command's first output."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.measurement import Goal, Result, Sample, Samples, Setting, timed
from benchmarks.projects import write_project, write_rows

NAME: Final = "cold_start"
COUNT: Final = 20
COMMAND: Final = "from daemon.cli import main; main()"
COMMANDS: Final = (("--help",), ("version",), ("status",))
PROGRAM: Final = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from daemon.clock import SystemClock
from incremental.keeper import Keeper
imported = time.perf_counter()
keeper = Keeper.open(Path(sys.argv[1]), clock=SystemClock())
opened = time.perf_counter()
report = keeper.run_cycle(cause="benchmark")
done = time.perf_counter()
keeper.close()
if report.failed:
    raise SystemExit("a view failed")
print((imported - began) * 1000, (opened - imported) * 1000, (done - opened) * 1000)
"""


def run(setting: Setting) -> Iterator[Result]:
    """Measure a project that was never built, one whose plans are lost, and one whose plans are stored."""
    root = setting.folder(NAME)
    write_rows(root / "lake" / "rows", 100_000, files=4)
    write_rows(root / "lake" / "other", 10_000)
    write_project(root, ["rows", "other"], dict(_views()))
    cases: dict[str, list[tuple[Sample, tuple[float, ...]]]] = {"nothing built": [], "no plans": [], "stored plans": []}
    for number in range(setting.choose(2, 5)):
        setting.tell(f"round {number + 1}")
        for case, taken in cases.items():
            if case != "stored plans":
                shutil.rmtree(root / "state", ignore_errors=True)
            if case == "nothing built":
                shutil.rmtree(root / "views_out", ignore_errors=True)
            taken.append(_start(root))
    found = {case: Samples(tuple(one for one, _ in taken)) for case, taken in cases.items()}
    texts = {
        "nothing built": "compile and build 20 views",
        "no plans": "compile 20 views, targets up to date",
        "stored plans": "20 stored plans, targets up to date",
    }
    for case, taken in cases.items():
        parts = [sorted(one[place] for _, one in taken)[len(taken) // 2] for place in range(3)]
        against = None if case == "no plans" else ("no plans", found["no plans"])
        note = f"import {parts[0]:.0f}, open {parts[1]:.0f}, cycle {parts[2]:.0f} ms"
        details = {"import_ms": parts[0], "open_ms": parts[1], "cycle_ms": parts[2]}
        yield timed(NAME, texts[case], found[case], against=against, note=note, details=details)
    soon = Goal("under 200 ms", 200)
    for words in COMMANDS:
        runs = tuple(_first_output(root, words) for _ in range(setting.choose(3, 20)))
        yield timed(NAME, f"daemonctl {words[0]}, to the first output", Samples(runs), goal=soon)


def _views() -> Iterator[tuple[str, str]]:
    for number in range(COUNT):
        match number % 4:
            case 0:
                query = f"SELECT id, grp, kind, quantity, amount FROM rows WHERE quantity > {number}"
            case 1:
                query = f"SELECT grp, count(*) AS n, max(amount) AS most FROM view_{number - 1:02} GROUP BY grp"
            case 2:
                query = (
                    "SELECT r.id, r.grp, r.amount, o.label FROM rows r JOIN other o ON o.id = r.id "
                    f"WHERE r.kind = {number % 7}"
                )
            case _:
                query = (
                    f"SELECT id, amount FROM view_{number - 1:02} WHERE grp < 1000 "
                    f"UNION ALL SELECT id, amount FROM view_{number - 3:02} WHERE grp >= 1000"
                )
        yield f"view_{number:02}", query


def _start(root: Path) -> tuple[Sample, tuple[float, ...]]:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(root)], check=True, capture_output=True, text=True)
    wall_ms = (time.perf_counter() - began) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_ms = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
    return Sample(wall_ms, cpu_ms), tuple(float(one) for one in ended.stdout.split())


def _first_output(root: Path, words: tuple[str, ...]) -> Sample:
    """Start a command and wait for the first byte that it says; only that is measured."""
    began = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, "-C", str(root), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        wall_ms = (time.perf_counter() - began) * 1000
        process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"daemonctl {words[0]} ended with {process.returncode}")
    return Sample(wall_ms, 0.0)
