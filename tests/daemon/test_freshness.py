from __future__ import annotations

from daemon.freshness import Freshness, covered, data_timestamp_ms, looked, news, only
from daemon.topology import Topology
from tests.daemon.fakes import shop

NOBODY: frozenset[str] = frozenset()


def test_unknown_before_the_first_cycle() -> None:
    assert data_timestamp_ms(looked(Freshness(), ["orders"], 50), shop(), "daily") is None


def test_a_quiet_look_moves_the_data_timestamp_on() -> None:
    state = covered(Freshness(), ["daily"], 100, NOBODY)
    assert data_timestamp_ms(state, shop(), "daily") == 100
    assert data_timestamp_ms(looked(state, ["orders"], 700), shop(), "daily") == 700


def test_news_hold_it_at_the_last_quiet_look_until_a_cycle_takes_them_in() -> None:
    topology = shop()
    state = covered(Freshness(), ["daily", "clean", "fleet"], 100, NOBODY)
    state = looked(state, ["orders", "planes"], 700)
    state = news(state, topology, ["orders"])
    state = looked(state, ["planes"], 900)
    assert [data_timestamp_ms(state, topology, view) for view in ("clean", "daily", "fleet")] == [700, 700, 900]
    state = covered(state, ["clean", "daily"], 950, NOBODY)
    assert data_timestamp_ms(state, topology, "daily") == 950
    assert state.stale == NOBODY


def test_news_during_the_cycle_stay_news() -> None:
    topology = shop()
    state = news(covered(Freshness(), ["fleet"], 100, NOBODY), topology, ["planes"])
    state = covered(state, ["fleet"], 200, frozenset({"fleet"}))
    state = looked(state, ["planes"], 900)
    assert data_timestamp_ms(state, topology, "fleet") == 200


def test_it_never_goes_back() -> None:
    state = covered(Freshness(), ["fleet"], 500, NOBODY)
    assert data_timestamp_ms(covered(state, ["fleet"], 400, NOBODY), shop(), "fleet") == 500


def test_what_left_the_project_is_forgotten() -> None:
    state = looked(covered(Freshness(), ["fleet"], 1, NOBODY), ["planes"], 2)
    assert only(state, Topology()) == Freshness()
