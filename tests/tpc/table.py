"""How the views of both suites are maintained, measured: `python -m tests.tpc.table` (`make tpc-table`).

Replays rounds of changes for some seeds, compares each view with its recomputation after each, and writes docs/tpc.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry.bundle import MaintenanceAnalysis
from tests.sources import ROOT
from tests.tpc.lives import SUITES, Life, Suite, SuiteName, life

PAGE: Final = ROOT / "docs" / "tpc.md"
TITLES: Final[dict[SuiteName, str]] = {"tpch": "TPC-H", "tpcds": "TPC-DS"}


@dataclass(slots=True)
class Tally:
    """What became of the refreshes of one view in one form, over all seeds."""

    maintenance: MaintenanceAnalysis
    strategies: Counter[str] = field(default_factory=Counter)
    differences: int = 0
    failures: int = 0

    @property
    def incremental(self) -> int:
        return self.strategies["incremental"]

    @property
    def refreshes(self) -> int:
        return self.incremental + self.strategies["recompute"]

    @property
    def share(self) -> str:
        return f"{100 * self.incremental / self.refreshes:.0f} %" if self.refreshes else "-"

    @property
    def fallen_back(self) -> str:
        """Name the operators that cannot be maintained, each kind once, with the codes that say why."""
        found = {f"{one.operator.partition(':')[0]} `{one.reason}`" for one in self.maintenance.operators if one.reason}
        return ", ".join(sorted(found))


Tallies = dict[str, Tally]


def replayed(suite: SuiteName, *, limited: bool, rounds: int, seeds: Collection[int]) -> Tallies:
    """Live the rounds of each seed."""
    tallies: Tallies = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder, life(Path(folder), suite, seed, limited=limited) as one:
            one.build()
            for number in range(rounds):
                for view, difference in lived(one, tallies):
                    print(f"{suite}, seed {seed}, round {number}, {view}: {difference}", file=sys.stderr)
    return tallies


def lived(one: Life, tallies: Tallies) -> Iterator[tuple[str, str]]:
    """Live one round, count it, and give what differs or failed."""
    found = one.round()
    for view, record in found.done.items():
        if view not in tallies:
            tallies[view] = Tally(one.maintenance(view))
        tally = tallies[view]
        tally.strategies[record.strategy] += 1
        tally.differences += view in found.differences
        tally.failures += view in found.failures
    yield from {**found.differences, **found.failures}.items()


def page(tallies: dict[SuiteName, tuple[Tallies, Tallies]], rounds: int, seeds: Sequence[int]) -> str:
    """Write the document."""
    both = [tally for forms in tallies.values() for form in forms for tally in form.values()]
    differences, failures = sum(tally.differences for tally in both), sum(tally.failures for tally in both)
    refreshes = sum(tally.refreshes for tally in both)
    lines = [
        "# TPC-H and TPC-DS as views",
        "",
        f"<!-- Made by `make tpc-table ARGS='--rounds {rounds} --seeds {' '.join(map(str, seeds))}'`. -->",
        "",
        "Every query of both suites that is in `tests/tpc/queries.py` is a view over small random data.",
        f"The data was changed {rounds} times for each of these seeds: {', '.join(map(str, seeds))}.",
        "Each round inserts, updates and deletes rows of all tables of facts and of some of the others.",
        "After each round every view was compared with its recomputation twice.",
        "Once by `verify`, and once by the oracle of the tests, which runs the query over what a stranger reads.",
        "",
        f"**{differences} differences and {failures} failed refreshes in {refreshes} refreshes.**",
        "",
        "The share is that of refreshes that applied changes, among those that did anything at all.",
        "Most queries end with a LIMIT, so each is tried as it is written and without that last line.",
        "Names that end with `__state` are those of states.",
        "What fell back are the kinds of operators that could not be maintained, with [reason codes](reasons.md).",
    ]
    for suite, forms in tallies.items():
        lines += ["", f"## {TITLES[suite]}", "", _sizes(SUITES[suite], seeds[0]), "", *_table(*forms)]
    return "\n".join(lines) + "\n"


def _sizes(suite: Suite, seed: int) -> str:
    tables = suite.lake(random.Random(seed)).tables()
    largest = sorted(tables, key=lambda name: -len(tables[name]))[:3]
    named = ", ".join(f"{name} {len(tables[name])}" for name in largest)
    return f"{len(tables)} tables with {sum(map(len, tables.values()))} rows to begin with ({named})."


def _table(written: Tallies, whole: Tallies) -> Iterator[str]:
    for title, form in (("as written", written), ("without their last LIMIT", whole)):
        refreshed = sum(tally.refreshes for tally in form.values())
        incremental = sum(tally.incremental for tally in form.values())
        able = sum(tally.maintenance.incremental for tally in form.values())
        yield (
            f"Of {len(form)} views {title}, {able} are incremental:"
            f" {incremental} of {refreshed} refreshes applied changes."
        )
    yield ""
    yield "| view | as written | fell back | without LIMIT | fell back |"
    yield "|---|---|---|---|---|"
    for view in sorted({*written, *whole}):
        cells = ((form[view].share, form[view].fallen_back) if view in form else ("", "") for form in (written, whole))
        yield f"| {view} | {' | '.join(cell for pair in cells for cell in pair)} |"


def main() -> None:
    """Replay and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    found = {
        suite: (
            replayed(suite, limited=True, rounds=chosen.rounds, seeds=chosen.seeds),
            replayed(suite, limited=False, rounds=chosen.rounds, seeds=chosen.seeds),
        )
        for suite in SUITES
    }
    PAGE.write_text(page(found, chosen.rounds, chosen.seeds))


if __name__ == "__main__":
    main()
