"""The real keeper behind the daemon's port, over a lake in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.live_keeper import LiveKeeper
from daemon.operations import OPERATIONS, NeedsDaemon, answer, run_operation
from daemon.port import CycleOutcome
from registry.errors import DefinitionError, DeltakeepError
from tests.daemon.running import running
from tests.incremental.fake_lake import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.dataset("orders", (1, 10), (2, 20))
    made.dataset("planes", (7, 70))
    made.view("clean", "SELECT k, v FROM orders WHERE v > 5", 'target_lag = "2m"')
    made.view("total", "SELECT k, sum(v) AS v FROM clean GROUP BY k", 'target_lag = "1m"')
    made.view("fleet", "SELECT k FROM planes")
    return made


@pytest.fixture
def keeper(shop: Shop) -> LiveKeeper:
    return LiveKeeper(shop.open(), shop.clock)


def ask(keeper: LiveKeeper, operation: str, **parameters: Any) -> Any:
    seen: list[Mapping[str, Any]] = []
    value = answer(run_operation(keeper, operation, parameters, seen.append))
    json.dumps([value, seen])
    return value


def cycle(keeper: LiveKeeper, *views: str) -> dict[str, str]:
    outcome = keeper.run_cycle(views or None, cause="test", force=None, observer=lambda _event: None)
    return {one.view: one.outcome for one in outcome.views}


def test_the_topology_is_that_of_the_plans(keeper: LiveKeeper, shop: Shop) -> None:
    topology = keeper.topology()
    assert {name: view.inputs for name, view in topology.views.items()} == {
        "clean": ("orders",),
        "total": ("clean",),
        "fleet": ("planes",),
    }
    assert topology.effective_lag_ms["clean"] == 60_000
    assert topology.datasets["orders"].log_folder == str(shop.root / "lake" / "orders" / "_delta_log")


def test_a_look_tells_what_moved_since_the_last_look_or_cycle(keeper: LiveKeeper, shop: Shop) -> None:
    assert [look.moved for look in keeper.look(["orders", "planes"])] == [False, False]
    shop.add("orders", (3, 30))
    assert [(look.moved, look.version) for look in keeper.look(["orders", "planes"])] == [(True, 1), (False, 0)]
    assert not keeper.look(["orders"])[0].moved
    cycle(keeper)
    shop.add("orders", (4, 40))
    cycle(keeper)
    assert not keeper.look(["orders"])[0].moved


def test_an_unreadable_dataset_is_a_look_with_an_error(keeper: LiveKeeper, shop: Shop) -> None:
    del shop.lake.tables[shop.uri("planes")]
    shop.clock.step(120_000)
    looks = {look.dataset: look for look in keeper.look(["orders", "planes"])}
    assert looks["planes"].error is not None
    assert looks["orders"].error is None


def test_a_cycle_tells_outcomes_costs_and_events(keeper: LiveKeeper, shop: Shop) -> None:
    seen: list[Mapping[str, Any]] = []
    outcome = keeper.run_cycle(None, cause="start", force=None, observer=seen.append)
    assert isinstance(outcome, CycleOutcome)
    assert {one.view: (one.strategy, one.reason) for one in outcome.views} == {
        "clean": ("recompute", "first_build"),
        "total": ("recompute", "first_build"),
        "fleet": ("recompute", "first_build"),
    }
    kinds = [event["kind"] for event in seen]
    assert (kinds[0], kinds[-1]) == ("cycle_started", "cycle_finished")
    assert {"refresh_planned", "refresh_step", "refresh_finished"} <= set(kinds)
    shop.add("orders", (3, 30))
    again = {one.view: one for one in keeper.run_cycle(None, cause="poll", force=None, observer=seen.append).views}
    assert (again["clean"].strategy, again["clean"].rows_inserted) == ("incremental", 1)
    assert (again["fleet"].outcome, again["fleet"].bytes_read) == ("skipped", 0)
    assert {one.view for one in keeper.run_cycle(["total"], cause="x", force=None, observer=seen.append).views} == {
        "clean",
        "total",
    }


def test_a_failed_view_and_those_that_wait_for_it(keeper: LiveKeeper, shop: Shop) -> None:
    cycle(keeper)
    shop.add("orders", (3, 30))
    shop.lake.failing["clean"] = DeltakeepError("store_error", "no space")
    outcome = keeper.run_cycle(None, cause="poll", force=None, observer=lambda _event: None)
    views = {one.view: one for one in outcome.views}
    assert views["clean"].failed
    assert "no space" in (views["clean"].error or "")
    assert views["total"].waiting
    assert not views["total"].failed


def test_a_paused_view_is_paused_and_its_readers_wait(keeper: LiveKeeper, shop: Shop) -> None:
    cycle(keeper)
    ask(keeper, "pause", view="clean", reason="maintenance")
    assert keeper.paused() == {"clean"}
    shop.add("orders", (3, 30))
    outcome = keeper.run_cycle(None, cause="poll", force=None, observer=lambda _event: None)
    assert {one.view: one.paused for one in outcome.views}["clean"]
    ask(keeper, "resume", view="clean")
    assert keeper.paused() == frozenset()
    assert cycle(keeper)["clean"] == "committed"


def test_reload_tells_what_changed_and_a_broken_file_changes_nothing(keeper: LiveKeeper, shop: Shop) -> None:
    cycle(keeper)
    shop.view("fleet", "SELECT k, v FROM planes")
    shop.view("extra", "SELECT v FROM planes")
    assert keeper.reload().changed == ("extra", "fleet")
    (shop.root / "views" / "fleet.sql").write_text("SELECT FROM")
    with pytest.raises(DefinitionError):
        keeper.reload()
    assert set(keeper.topology().views) == {"clean", "total", "fleet", "extra"}
    assert cycle(keeper)["fleet"] == "committed"


def test_every_operation_answers_with_plain_json(keeper: LiveKeeper, shop: Shop) -> None:
    needed: dict[str, dict[str, Any]] = {
        "why": {"view": "total"},
        "explain": {"view": "total"},
        "lineage": {"view": "total"},
        "history": {"view": "clean"},
        "refresh": {"views": ["clean"], "recompute": True},
        "replan": {"views": ["clean"]},
        "verify": {"views": ["clean"]},
        "pause": {"view": "clean", "reason": "test"},
        "resume": {"view": "clean"},
        "preview": {"views": ["clean"], "exact": True},
    }
    cycle(keeper)
    shop.add("orders", (9, 90))
    needed["scans"] = {"view": "clean", "cycle_id": ask(keeper, "history", view="clean")[0]["cycle_id"]}
    about_the_daemon = {"log_level", "diagnostics"}
    for name in OPERATIONS:
        if name in about_the_daemon:
            with pytest.raises(NeedsDaemon) as caught:
                ask(keeper, name)
            assert caught.value.exit_code == 7
        elif name != "query":
            ask(keeper, name, **needed.get(name, {}))


def test_status_and_views_name_what_people_look_for(keeper: LiveKeeper) -> None:
    cycle(keeper)
    status = ask(keeper, "status")
    assert status["daemon"] is None
    assert [(view["name"], view["state"]) for view in status["views"]] == [
        ("clean", "fresh"),
        ("fleet", "fresh"),
        ("total", "fresh"),
    ]
    views = {view["name"]: view for view in ask(keeper, "views")}
    assert views["total"]["inputs"] == ["clean"]
    assert views["clean"]["effective_lag_ms"] == 60_000


def test_preview_of_a_hypothetical_change_and_of_an_edited_view(keeper: LiveKeeper) -> None:
    cycle(keeper)
    supposed = ask(keeper, "preview", dataset="orders", where="v > 5")
    assert supposed["kind"] == "hypothetical"
    edited = ask(keeper, "preview", edited={"fleet": "SELECT k, v FROM planes"})
    changed = {view["view"]: view["definition"] for view in edited["views"]}
    assert changed == {"clean": "unchanged", "total": "unchanged", "fleet": "changed"}


def test_the_service_keeps_the_views_right(keeper: LiveKeeper, shop: Shop) -> None:
    async def scenario() -> None:
        async with running(shop.root, keeper) as one:
            await one.until(lambda: all(one.service.ready_gates().values()))
            shop.assert_right()
            shop.add("orders", (3, 30))
            await one.call("refresh", views=["total"])
            shop.assert_right()
            status = await one.call("status")
            assert {view["name"]: view["state"] for view in status["views"]} == {
                "clean": "fresh",
                "total": "fresh",
                "fleet": "fresh",
            }
            assert status["daemon"]["definitions_failure"] is None
            assert one.value("view_refreshes_total", view="total", strategy="incremental", result="ok") == 1
            code, text = await one.get("/metrics")
            assert code == 200
            assert 'deltakeep_build_info{engine_version="1"' in text

    asyncio.run(scenario())


def test_an_unknown_view_is_not_found_with_a_suggestion(keeper: LiveKeeper) -> None:
    for operation in ("why", "explain", "pause", "history"):
        with pytest.raises(DeltakeepError) as caught:
            ask(keeper, operation, view="totl")
        assert caught.value.exit_code == 5, operation
        assert "total" in str(caught.value)
