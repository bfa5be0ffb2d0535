"""Why, status, verify, explain, lineage, history: answers from memory, from the history and from a look."""

from __future__ import annotations

import json

import pytest

from incremental.keeper import Keeper
from registry.errors import MustStop
from registry.names import ViewName
from registry.reasons import ReasonCode
from tests.incremental.fake_lake import Shop


def built(shop: Shop) -> Keeper:
    shop.dataset("orders", (1, 5), (1, 20), (2, 30))
    shop.view("large", "SELECT k, v FROM orders WHERE v > 10")
    shop.view("totals", "SELECT k, sum(v) AS total FROM orders GROUP BY k")
    keeper = shop.open()
    shop.cycle(keeper)
    return keeper


def test_why_tells_the_facts_of_a_refresh(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (3, 40))
    shop.cycle(keeper)
    report = keeper.why("totals")
    assert report.source == "memory"
    assert report.fact.code == "incremental"
    lines = report.fact.lines()
    assert any('"orders" moved from 0 to 1 in 1 commits (WRITE)' in line for line in lines)
    assert any("Version 1 was committed: 1 rows in, 0 out." in line for line in lines)
    assert any("a recompute reads 1000000 bytes" in line for line in lines)
    json.dumps(report.to_json())


def test_why_tells_why_nothing_happened(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (3, 4))
    shop.cycle(keeper)
    lines = keeper.why("large").fact.lines()
    assert lines[0] == f'View "large": skipped, because {ReasonCode.FILTERED_OUT.text} (filtered_out).'
    assert any('"orders" moved from 0 to 1' in line for line in lines)
    shop.cycle(keeper)
    assert any('"orders" has no new version at version 1.' in line for line in keeper.why("large").fact.lines())
    assert any("proved up to 1" in line for line in keeper.why("large").fact.lines())


def test_why_after_a_restart_comes_from_the_history_or_from_a_look(shop: Shop) -> None:
    built(shop)
    report = shop.open().why("totals")
    assert (report.source, report.fact.code) == ("history", "first_build")
    shop.lake.data.clear()
    report = shop.open().why("totals")
    assert (report.source, report.fact.code) == ("look", "no_new_versions")


def test_status_tells_states_lags_and_versions(shop: Shop) -> None:
    keeper = built(shop)
    states = {one.name: one for one in keeper.status().views}
    assert {one.state for one in states.values()} == {"fresh"}
    assert states[ViewName("totals")].lag_ms == 0
    shop.clock.step(60_000)
    assert {one.lag_ms for one in keeper.status().views} == {0}, "a quiet dataset makes no view old"
    shop.add("orders", (3, 40))
    shop.clock.step(5_000)
    report = keeper.status()
    assert {one.name: one.state for one in report.views} == {"large": "behind", "totals": "behind"}
    assert report.datasets[0].version == 1
    assert all(one.lag_ms is not None and one.lag_ms > 60_000 for one in report.views)
    shop.lake.failing["totals"] = MustStop("engine_error", "broken")
    shop.cycle(keeper)
    assert {one.name: one.state for one in keeper.status().views} == {"large": "fresh", "totals": "failed"}
    json.dumps(report.to_json())


def test_status_of_a_new_process_is_the_same(shop: Shop) -> None:
    keeper = built(shop)
    assert [one.to_json() for one in shop.open().status().views] == [one.to_json() for one in keeper.status().views]


def test_a_new_process_tells_of_a_failed_refresh_until_it_is_mended(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (3, 40))
    shop.lake.failing["totals"] = MustStop("engine_error", "broken")
    shop.cycle(keeper)
    keeper.close()
    states = {one.name: one for one in shop.open().status().views}
    failed = states[ViewName("totals")]
    assert (failed.state, failed.reason, failed.failures) == ("failed", ReasonCode.REFRESH_FAILED, 1)
    assert "broken" in failed.message
    assert states[ViewName("large")].state == "fresh"
    shop.lake.failing.clear()
    later = shop.open()
    shop.cycle(later)
    later.close()
    assert {one.state for one in shop.open().status().views} == {"fresh"}


def test_verify_compares_and_shows_what_somebody_did(shop: Shop) -> None:
    keeper = built(shop)
    assert [(one.view, one.checked, one.equal) for one in keeper.verify()] == [
        ("large", True, True),
        ("totals", True, True),
    ]
    shop.add("orders", (3, 40))
    assert all(one.equal for one in keeper.verify()), "the audit is at the pins of the content"
    shop.add("totals", (99, 99))
    (found,) = keeper.verify(["totals"])
    assert (found.checked, found.equal) == (True, False)
    assert found.message == "Different: 0 rows are missing, 1 are not expected."
    json.dumps(found.to_json())


def test_verify_proves_what_was_skipped(shop: Shop) -> None:
    keeper = built(shop)
    # The view keeps large amounts only: a small one is skipped by the statistics of its file.
    shop.add("orders", (7, 1))
    assert shop.cycle(keeper)["large"].outcome == "skipped"
    (found,) = keeper.verify(["large"])
    assert (found.equal, found.message) == (True, "Equal: 2 rows, also with what was skipped since.")
    assert found.pins == {"orders": shop.table("orders").version}


def test_verify_sees_a_skip_that_was_wrong(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = built(shop)
    with monkeypatch.context() as patched:
        patched.setattr(shop.lake, "_matching", lambda *_: 0)
        shop.add("orders", (8, 100))
        assert shop.cycle(keeper)["large"].outcome == "skipped"
    (found,) = keeper.verify(["large"])
    assert not found.equal
    assert found.message.endswith("a skip since then was wrong.")


def test_verify_says_what_it_cannot_compare(shop: Shop) -> None:
    shop.dataset("orders", (1, 5))
    shop.view("large", "SELECT k, v FROM orders WHERE v > 10")
    (found,) = shop.open().verify()
    assert (found.checked, found.reason) == (False, "first_build")


def test_lineage_explain_and_history_have_json(shop: Shop) -> None:
    keeper = built(shop)
    assert [edge["columns"] for edge in json.loads(json.dumps(keeper.lineage().to_json()))["edges"]] == [
        ["k", "v"],
        ["k", "v"],
    ]
    assert keeper.explain("totals").to_json()["maintenance"]["incremental"]
    records = keeper.history("totals")
    assert [(one.view, one.reason) for one in records] == [("totals", "first_build")]
    assert keeper.history(limit=1)[0].cycle_id
    json.dumps([one.to_json() for one in records])


def test_a_look_at_datasets_reports_what_cannot_be_read(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (3, 40))
    assert [one.version for one in keeper.dataset_versions()] == [1]
    del shop.lake.tables[shop.uri("orders")]
    shop.clock.step(60_000)
    (found,) = keeper.dataset_versions(["orders"])
    assert found.error is not None
