"""Diamonds: whatever fails, waits, is skipped or paused, no view ever mixes two versions of a dataset."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from incremental.keeper import Keeper
from registry.errors import MustStop
from registry.names import ViewName
from tests.incremental.fake_lake import Shop


def diamond(shop: Shop) -> Shop:
    shop.dataset("orders", (1, 5), (1, 20), (2, 30))
    shop.dataset("other", (1, 1))
    shop.view("left", "SELECT k, v FROM orders WHERE v > 10")
    shop.view("right", "SELECT k, sum(v) AS total FROM orders GROUP BY k", 'target_lag = "1h"')
    shop.view("bottom", "SELECT a.k, a.v, b.total FROM left AS a JOIN right AS b ON a.k = b.k")
    shop.view("mixed", "SELECT o.k, o.v, b.total FROM orders AS o JOIN right AS b ON o.k = b.k")
    shop.view("apart", "SELECT a.k, o.v FROM right AS a JOIN other AS o ON a.k = o.k")
    return shop


def built(shop: Shop) -> Keeper:
    keeper = diamond(shop).open()
    shop.cycle(keeper)
    shop.assert_right()
    return keeper


@pytest.mark.parametrize("restart", [False, True])
def test_a_failed_branch_holds_the_bottom_back(shop: Shop, *, restart: bool) -> None:
    keeper = built(shop)
    shop.add("orders", (1, 50))
    shop.lake.failing["right"] = MustStop("engine_error", "broken")
    keeper = shop.open() if restart else keeper
    done = shop.cycle(keeper)
    assert done["left"].outcome == "committed"
    assert {name: done[name].reason for name in ("bottom", "mixed", "apart")} == dict.fromkeys(
        ("bottom", "mixed", "apart"), "upstream_failed"
    )
    shop.assert_consistent()
    del shop.lake.failing["right"]
    shop.cycle(shop.open() if restart else keeper)
    shop.assert_right()
    shop.assert_consistent()


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_branch_is_named_as_the_laggard(shop: Shop, *, restart: bool) -> None:
    keeper = built(shop)
    keeper.pause("right", "")
    shop.add("orders", (1, 50))
    shop.add("other", (2, 2))
    for _ in range(2):
        keeper = shop.open() if restart else keeper
        done = shop.cycle(keeper)
        assert done["right"].reason == "paused"
        assert {done[name].reason for name in ("bottom", "mixed")} == {"inputs_not_aligned"}
        assert '"right" at version 0 of "orders", expected 1' in done["bottom"].message
        shop.assert_consistent()
    # What shares no dataset with the laggard goes on from its last good content.
    assert shop.table("apart").version == 1
    shop.clock.step()
    keeper.resume("right")
    shop.cycle(keeper)
    shop.assert_right()


@pytest.mark.parametrize("restart", [False, True])
def test_a_proved_skip_counts_as_moved_on(shop: Shop, *, restart: bool) -> None:
    keeper = built(shop)
    shop.add("orders", (1, 7))
    keeper = shop.open() if restart else keeper
    done = shop.cycle(keeper)
    assert done["left"].reason == "filtered_out"
    assert done["bottom"].outcome == "committed"
    shop.assert_right()
    shop.assert_consistent()


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_branch_that_provably_misses_nothing_holds_nobody_back(shop: Shop, *, restart: bool) -> None:
    keeper = built(shop)
    keeper.pause("left", "")
    shop.add("orders", (1, 7))
    shop.cycle(keeper)
    shop.add("orders", (2, 7))
    keeper = shop.open() if restart else keeper
    done = shop.cycle(keeper)
    assert done["left"].reason == "filtered_out"
    assert done["bottom"].outcome == "committed"
    shop.assert_right()
    shop.assert_consistent()


def test_a_slow_branch_is_held_to_the_lag_of_its_readers(shop: Shop) -> None:
    keeper = built(shop)
    lags = keeper.effective_lags()
    assert lags[ViewName("right")] == lags[ViewName("bottom")] == 60_000


def test_a_branch_changed_by_somebody_while_paused_holds_its_readers_back(shop: Shop) -> None:
    keeper = built(shop)
    keeper.pause("right", "")
    shop.add("right", (7, 7))
    shop.add("orders", (1, 50))
    done = shop.cycle(keeper)
    assert (done["bottom"].outcome, done["bottom"].reason) == ("waiting", "input_missing")
    shop.assert_consistent()


STEPS = ("add", "add", "remove", "small", "optimize", "other", "fail", "mend", "pause", "resume", "restart", "foreign")


@pytest.mark.parametrize("seed", range(12))
def test_random_lives_never_mix_versions(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    shop = Shop(tmp_path)
    keeper = built(shop)
    branches = ("left", "right")
    for _ in range(14):
        match chance.choice(STEPS):
            case "add":
                shop.add("orders", (chance.randint(1, 3), chance.randint(1, 40)))
            case "remove":
                rows = sorted(shop.table("orders").now.rows)
                shop.remove("orders", chance.choice(rows)) if rows else None
            case "small":
                shop.add("orders", (chance.randint(1, 3), 1))
            case "optimize":
                shop.optimize(chance.choice(("orders", "left", "right", "bottom")))
            case "other":
                shop.add("other", (chance.randint(1, 3), 1))
            case "fail":
                shop.lake.failing[chance.choice(branches)] = MustStop("engine_error", "broken")
            case "mend":
                shop.lake.failing.clear()
            case "pause":
                shop.clock.step()
                keeper.pause(chance.choice(branches), "")
            case "resume":
                shop.clock.step()
                keeper.resume(chance.choice(branches))
            case "restart":
                keeper = shop.open()
            case "foreign":
                shop.add(chance.choice(branches), (9, 9))
        wanted = chance.choice(((), (), ("bottom",), ("left",), ("mixed",)))
        shop.cycle(keeper, *wanted, step_ms=chance.choice((1_000, 60_000)))
        shop.assert_consistent()
    shop.lake.failing.clear()
    shop.clock.step()
    for branch in branches:
        keeper.resume(branch)
    shop.cycle(keeper, step_ms=60_000)
    shop.assert_right()
    shop.assert_consistent()
    assert {one.outcome for one in shop.cycle(keeper).values()} == {"skipped"}
