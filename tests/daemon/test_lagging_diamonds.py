"""Diamonds of which one branch may be an hour old and the other one a minute: the schedule over a lake in memory.

Each view that exists always equals its query at one vector of versions, whatever runs when and however often the
process starts anew; and each keeps to the lag that it is held to.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from daemon.schedule import Due, Schedule, ViewRun, finished, next_due, noticed
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from incremental.keeper import Keeper
from tests.incremental.fake_lake import Shop

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
MINUTES: Final = 75
VIEWS: Final = {
    "fast": ("SELECT k, v FROM orders WHERE v > 10", "1m"),
    "slow": ("SELECT k, sum(v) AS total FROM orders GROUP BY k", "1h"),
    "bottom": ("SELECT a.k, a.v, b.total FROM fast AS a JOIN slow AS b ON a.k = b.k", "1h"),
    "mixed": ("SELECT o.k, o.v, b.total FROM orders AS o JOIN slow AS b ON o.k = b.k", "1h"),
}
DEAR_MS: Final = {"slow": 10 * MINUTE_MS, "bottom": 10 * MINUTE_MS, "mixed": 10 * MINUTE_MS}
"""How long the scheduler is told that refreshes took: what is dear is run less often than it changes."""


@dataclass(slots=True)
class Life:
    """A daemon's day in steps of a minute: a row comes, views are noticed, and what is due runs."""

    shop: Shop
    topology: Topology
    keeper: Keeper = field(init=False)
    schedule: Schedule = field(init=False)
    commits: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        """As a new process: everything is looked at once, and nothing is remembered."""
        self.keeper = self.shop.open()
        self.schedule = noticed(Schedule(), self.topology.views, self.shop.clock.at_ms, "start", urgent=True)

    def minute(self, value: int) -> None:
        self.shop.clock.step(MINUTE_MS)
        self.shop.add("orders", (value % 3, value))
        readers = self.topology.views_reading(["orders"])
        self.schedule = noticed(self.schedule, readers, self.shop.clock.at_ms, "event")
        self.shop.clock.step(1_000)
        self.run_what_is_due()

    def run_what_is_due(self) -> None:
        while isinstance(due := next_due(self.schedule, self.topology, self.shop.clock.at_ms), Due):
            started_ms = self.shop.clock.at_ms
            records = self.keeper.run_cycle(due.views, cause=due.cause).views
            self.commits.update(record.view for record in records if record.outcome == "committed")
            self.shop.assert_consistent()
            runs = {one.view: ViewRun(DEAR_MS.get(one.view, 1), failed=False) for one in records}
            self.shop.clock.step(1)
            self.schedule = finished(self.schedule, runs, started_ms, self.shop.clock.at_ms)

    def versions_behind(self, view: str) -> int:
        """How many commits of the dataset, one a minute, a view's content does not reflect yet."""
        table = self.shop.table(view)
        own = next(entry for entry in reversed(table.log) if entry.own)
        assert own.details is not None
        reflected: int = own.details["vector"]["orders"]["version"]
        return self.shop.table("orders").version - reflected


def life_of(root: Path, lags: dict[str, str] | None = None) -> Life:
    shop = Shop(root)
    shop.dataset("orders", (1, 5), (1, 20), (2, 30))
    chosen = {name: (lags or {}).get(name, lag) for name, (_, lag) in VIEWS.items()}
    for name, (query, _) in VIEWS.items():
        shop.view(name, query, f'target_lag = "{chosen[name]}"')
    in_ms = {"1m": MINUTE_MS, "1h": HOUR_MS}
    views = [ScheduledView(name, tuple(shop._inputs(name)), in_ms[chosen[name]]) for name in VIEWS]
    life = Life(shop, make_topology(views, [WatchedDataset("orders", 1_000, None)]))
    life.start()
    life.run_what_is_due()
    return life


@pytest.mark.parametrize("restarts", ["none", "at random"])
def test_an_hour_against_a_minute_never_mixes_versions(tmp_path: Path, restarts: str) -> None:
    chance = random.Random(restarts)
    life = life_of(tmp_path)
    for minute in range(MINUTES):
        if restarts == "at random" and chance.random() < 0.1:
            life.start()
        life.minute(chance.randint(1, 40))
        assert life.versions_behind("slow") <= 60
        assert life.versions_behind("bottom") <= 60
        if minute % 30 == 29:
            life.keeper.run_cycle(["fast"], cause="requested")
            life.shop.assert_right("fast")
    life.start()
    life.run_what_is_due()
    life.shop.assert_right()
    if restarts == "none":
        assert life.commits["fast"] > 4 * life.commits["slow"], life.commits
        assert life.commits["slow"] >= MINUTES // 60


def test_a_reader_of_a_minute_makes_its_slow_branch_as_fresh_as_itself(tmp_path: Path) -> None:
    life = life_of(tmp_path, lags={"bottom": "1m"})
    assert life.keeper.effective_lags() == dict(life.topology.effective_lag_ms)
    assert life.topology.effective_lag_ms["slow"] == MINUTE_MS
    for _ in range(20):
        life.minute(25)
        assert life.versions_behind("slow") <= 1
        assert life.versions_behind("bottom") <= 1
    life.shop.assert_right("fast", "slow", "bottom")
