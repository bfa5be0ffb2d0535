"""Where results go: a table for people, `results.md`, and one JSON file for each commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import Result

HERE: Final = Path(__file__).resolve().parent
PACKAGES: Final = ("deltakeep", "datafusion", "deltalake", "duckdb", "pyarrow")
COLUMNS: Final = ("case", "median", "range", "cpu", "ratio", "goal", "remarks")


@dataclass(frozen=True, slots=True)
class Occasion:
    """When, where and from what results were taken.

    `date` is that of the commit; `edited` says that the working tree differs from it, and `outdated` that Rust sources
    are newer than the native module, so that it may be that of an earlier commit.
    `load` is the mean load of the last minute when the run began: much above zero means that others were at work.
    """

    commit: str
    date: str
    edited: bool
    outdated: bool
    quick: bool
    facts: Mapping[str, Any]


def occasion(*, quick: bool) -> Occasion:
    """Look at the machine and at the repository."""
    facts = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 1),
    }
    edited = bool(_git("status", "--porcelain", "--", "rust", "registry", "incremental", "daemon"))
    return Occasion(
        commit=_git("rev-parse", "--short=12", "HEAD") or "unknown",
        date=_git("show", "-s", "--format=%cs", "HEAD"),
        edited=edited,
        outdated=_outdated(),
        quick=quick,
        facts=facts,
    )


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the table."""
    table = Table("benchmark", *COLUMNS)
    for one in results:
        style = "red" if one.met is False else None
        table.add_row(one.benchmark, *_cells(one), style=style)
    console.print(table)


def keep(taken: Occasion, results: Sequence[Result], seconds: float) -> tuple[Occasion, list[Result]]:
    """Write the JSON of this commit, and return what it has now.

    Results of cases that were not run this time stay, so that a long benchmark can run in parts; the load on record is
    then the highest of all runs.
    """
    path = HERE / "results" / f"{taken.commit}.json"
    path.parent.mkdir(exist_ok=True)
    ran = {(one.benchmark, one.case) for one in results}
    merged = list(results)
    if path.exists():
        before = json.loads(path.read_text())
        kept = [Result(**one) for one in before["results"] if (one["benchmark"], one["case"]) not in ran]
        if kept:
            merged = [*kept, *results]
            load = max(taken.facts["load"], before["occasion"]["facts"]["load"])
            edited = taken.edited or before["occasion"]["edited"]
            outdated = taken.outdated or before["occasion"]["outdated"]
            taken = replace(taken, edited=edited, outdated=outdated, facts={**taken.facts, "load": load})
    value = {"occasion": asdict(taken), "seconds": round(seconds, 1), "results": [asdict(one) for one in merged]}
    path.write_text(json.dumps(value, indent=1) + "\n")
    return taken, merged


def markdown(taken: Occasion, results: Sequence[Result], purposes: Mapping[str, str]) -> str:
    """The results as a document; benchmarks stand in the order of `purposes`."""
    facts = taken.facts
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    edits = ", with edits" if taken.edited else ""
    built = "; the native module is older than its sources" if taken.outdated else ""
    size = "; `--quick`: small sizes and few rounds" if taken.quick else ""
    busy = ", so others were at work on this machine" if facts["load"] > 0.5 else ""
    lines = [
        "# Results",
        "",
        "Made by `make bench`; what counts are the ratios, since the rivals take turns within one run.",
        "Medians with their ranges; `cpu` is the processor time of all threads.",
        "Results that miss their goal say so.",
        "",
        f"- Commit {taken.commit} of {taken.date}{edits}{built}{size}.",
        f"- {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, {facts['system']}.",
        f"- Python {facts['python']}, {packages}.",
        f"- Load average before the run: {facts['load']}{busy}.",
    ]
    for name, purpose in purposes.items():
        mine = [one for one in results if one.benchmark == name]
        if not mine:
            continue
        lines += ["", f"## {name}", "", purpose, "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(_cells(one))} |" for one in mine]
    return "\n".join(lines) + "\n"


def _cells(one: Result) -> tuple[str, ...]:
    goal = "" if one.goal is None else f"{one.goal}: {'met' if one.met else 'MISSED'}"
    return (
        one.case,
        f"{_figure(one.value)} {one.unit}",
        f"{_figure(one.low)} to {_figure(one.high)} ({one.runs})",
        "" if not one.cpu_ms else f"{_figure(one.cpu_ms)} ms",
        _ratio(one),
        goal,
        one.note,
    )


def _ratio(one: Result) -> str:
    if one.ratio is None:
        return ""
    by_cpu = one.details.get("cpu_ratio")
    text = f"{_small(one.ratio)} of {one.against}"
    return text if by_cpu is None else f"{text}, {_small(by_cpu)} by cpu"


def _small(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _outdated() -> bool:
    spec = find_spec("datafusion_ext")
    if spec is None or spec.origin is None:
        return True
    built = [one.stat().st_mtime for one in Path(spec.origin).parent.glob("_native*.so")]
    sources = [one.stat().st_mtime for one in (HERE.parent / "rust").rglob("*.rs")]
    return not built or max(built) < max(sources, default=0.0)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", "-C", str(HERE), *arguments], check=False, capture_output=True, text=True)
    return ended.stdout.strip() if ended.returncode == 0 else ""
