"""Cycles over a lake in memory: what is refreshed, skipped, waited for, and what every view holds afterwards."""

from __future__ import annotations

import pytest

from incremental.events import CycleEvent
from incremental.keeper import Keeper
from registry.errors import DefinitionError, MustStop, PlanAgain, RetryLater
from registry.names import ViewName
from tests.incremental.fake_lake import DAY_MS, Shop

TOTALS = "SELECT k, sum(v) AS total FROM orders GROUP BY k"
LARGE = "SELECT k, v FROM orders WHERE v > 10"


def simple(shop: Shop) -> Shop:
    shop.dataset("orders", (1, 5), (1, 20), (2, 30))
    shop.view("large", LARGE)
    shop.view("totals", TOTALS)
    return shop


def test_first_cycle_builds_and_second_writes_nothing(shop: Shop) -> None:
    keeper = simple(shop).open()
    done = shop.cycle(keeper)
    assert {name: (one.strategy, one.reason, one.outcome) for name, one in done.items()} == {
        "large": ("recompute", "first_build", "committed"),
        "totals": ("recompute", "first_build", "committed"),
    }
    shop.assert_right()
    appends, refreshes = len(shop.lake.appends), shop.lake.calls["refresh"]
    done = shop.cycle(keeper)
    assert {one.reason for one in done.values()} == {"no_new_versions"}
    assert len(shop.lake.appends) == appends
    assert shop.lake.calls["refresh"] == refreshes


def test_an_idle_cycle_asks_one_question_a_table(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.cycle(keeper)
    shop.lake.calls.clear()
    shop.cycle(keeper)
    assert dict(shop.lake.calls) == {"look": 2, "tables_looked_at": 3}, "datasets in one call, targets in another"


def test_an_append_is_refreshed_incrementally(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.add("orders", (3, 40))
    done = shop.cycle(keeper)
    assert {one.strategy for one in done.values()} == {"incremental"}
    assert done["large"].rows_inserted == 1
    shop.assert_right()


def test_a_restart_goes_on_from_the_targets(shop: Shop) -> None:
    shop.cycle(simple(shop).open())
    shop.add("orders", (3, 40))
    done = shop.cycle(shop.open())
    assert {one.strategy for one in done.values()} == {"incremental"}
    shop.assert_right()


@pytest.mark.parametrize("restart", [False, True])
def test_changes_that_cannot_matter_are_skipped_and_not_looked_at_again(shop: Shop, *, restart: bool) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.add("orders", (7, 1))
    done = shop.cycle(keeper)
    assert (done["large"].outcome, done["large"].reason) == ("skipped", "filtered_out")
    assert done["totals"].outcome == "committed"
    version = shop.table("large").version
    shop.lake.calls.clear()
    keeper = shop.open() if restart else keeper
    done = shop.cycle(keeper)
    assert done["large"].reason == "no_new_versions"
    assert shop.lake.calls["examine"] == 0
    shop.add("orders", (8, 80))
    done = shop.cycle(keeper)
    request = shop.lake.requests[-1] if shop.lake.requests[-1]["view"]["name"] == "large" else shop.lake.requests[-2]
    assert (request["inputs"][0]["before"], request["inputs"][0]["now"]) == (1, 2)
    assert shop.table("large").version == version + 1
    shop.assert_right()


def test_compaction_of_an_input_is_no_data_change(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.optimize("orders")
    done = shop.cycle(keeper)
    assert {one.reason for one in done.values()} == {"no_data_change"}


def test_an_added_column_that_no_view_uses_changes_nothing(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.add_column(shop.uri("orders"), "note")
    done = shop.cycle(keeper)
    assert {one.reason for one in done.values()} == {"unused_columns"}


def test_many_skipped_commits_become_durable_with_constant_reads(shop: Shop) -> None:
    keeper = simple(shop).open(durable_after_commits=50)
    shop.cycle(keeper)
    for _ in range(120):
        shop.add("orders", (7, 1))
        shop.lake.calls.clear()
        shop.cycle(keeper, "large")
        assert shop.lake.calls["entries_read"] <= 1
    large = shop.table("large")
    assert large.version == 2
    assert max(large.now.frontier.values()) == 100


def test_a_frontier_becomes_durable_before_half_of_the_retention_is_over(shop: Shop) -> None:
    shop.dataset("orders", (1, 20), properties={"delta.logRetentionDuration": "interval 2 days"})
    shop.view("large", LARGE)
    keeper = shop.open()
    shop.cycle(keeper)
    shop.add("orders", (7, 1))
    shop.cycle(keeper)
    assert shop.table("large").version == 0
    shop.clock.step(2 * DAY_MS)
    shop.add("orders", (7, 2))
    shop.cycle(keeper)
    assert shop.table("large").version == 1


def test_an_engine_that_cannot_commit_without_files_is_not_asked_again_and_again(shop: Shop) -> None:
    keeper = simple(shop).open(durable_after_commits=2)
    shop.cycle(keeper)
    shop.lake.failing["large"] = RetryLater("store_error", "no")
    refreshes = []
    for _ in range(6):
        shop.add("orders", (7, 1))
        shop.lake.calls.clear()
        assert shop.cycle(keeper, "large")["large"].outcome == "skipped"
        refreshes.append(shop.lake.calls["refresh"])
    assert sum(refreshes) == 3


# --- targets and inputs that others touch -----------------------------------------------------------------------------


def test_foreign_compaction_of_a_target_holds_the_frontier(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.optimize("totals")
    assert shop.cycle(keeper)["totals"].reason == "no_new_versions"
    shop.add("orders", (3, 40))
    assert shop.cycle(keeper)["totals"].strategy == "incremental"
    shop.assert_right()


def test_foreign_rows_in_a_target_are_recomputed_away(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.add("totals", (9, 9))
    done = shop.cycle(keeper)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "target_modified")
    shop.assert_right()


def test_a_target_of_somebody_else_is_refused_and_left_alone(shop: Shop) -> None:
    simple(shop)
    shop.lake.create(shop.uri("totals"), ("k", "total"), [(1, 1)])
    keeper = shop.open()
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("refused", "not_ours")
    assert shop.table("totals").version == 0
    shop.assert_right("large")


def test_a_table_under_two_names_is_refused_where_a_frontier_could_not_tell_them_apart(shop: Shop) -> None:
    """A copied folder has the table id of its original, and versions of its own."""
    simple(shop)
    shop.dataset("copied", (1, 5))
    shop.table("copied").table_id = shop.table("orders").table_id
    shop.view("both", "SELECT o.k, c.v FROM orders AS o JOIN copied AS c ON o.k = c.k")
    shop.view("one", "SELECT k FROM copied")
    done = shop.cycle(shop.open())
    assert (done["both"].outcome, done["both"].reason) == ("failed", "refresh_failed")
    assert 'reads "copied" and "orders", which have one table id' in done["both"].message
    assert "copying the folder" in (done["both"].error or "")
    shop.assert_right("large", "totals", "one")


def test_a_dropped_target_is_built_again_with_its_own_reason(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    del shop.lake.tables[shop.uri("totals")]
    done = shop.cycle(keeper, step_ms=60_000)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "target_missing")
    shop.assert_right()


def test_a_dataset_created_anew_is_noticed_and_recomputed(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.add("orders", (3, 40))
    shop.cycle(keeper)
    shop.lake.create(shop.uri("orders"), ("k", "v"), [(5, 50)])
    done = shop.cycle(keeper, step_ms=60_000)
    assert {(one.strategy, one.reason) for one in done.values()} == {("recompute", "table_replaced")}
    shop.assert_right()


def test_a_cleaned_log_is_history_gone(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.add("orders", (3, 40))
    shop.add("orders", (4, 40))
    shop.table("orders").first = 2
    done = shop.cycle(keeper)
    assert {(one.strategy, one.reason) for one in done.values()} == {("recompute", "history_gone")}
    shop.assert_right()


def test_a_missing_dataset_stops_only_its_readers_until_it_is_there(shop: Shop) -> None:
    simple(shop)
    shop.datasets.append("later")
    shop.view("of_later", "SELECT k FROM later")
    keeper = shop.open()
    done = shop.cycle(keeper)
    assert (done["of_later"].outcome, done["of_later"].reason) == ("failed", "input_missing")
    shop.assert_right("large", "totals")
    shop.lake.create(shop.uri("later"), ("k",), [(1,)])
    assert shop.cycle(keeper)["of_later"].outcome == "committed"
    shop.assert_right()


# --- strategies -------------------------------------------------------------------------------------------------------


def test_a_dearer_incremental_plan_is_recomputed(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.costs["totals"] = (10_000_000, 1_000)
    shop.add("orders", (3, 40))
    done = shop.cycle(keeper)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "cheaper_recompute")
    assert done["large"].strategy == "incremental"
    shop.assert_right()


def test_policies_decide(shop: Shop) -> None:
    shop.dataset("orders", (1, 5))
    shop.view("always", TOTALS, 'refresh = "recompute"')
    shop.view("strict", TOTALS, 'refresh = "incremental"')
    shop.lake.not_incremental["strict"] = "window_not_incremental"
    keeper = shop.open()
    assert {one.outcome for one in shop.cycle(keeper).values()} == {"committed"}
    shop.add("orders", (3, 40))
    done = shop.cycle(keeper)
    assert (done["always"].strategy, done["always"].reason) == ("recompute", "policy_recompute")
    assert (done["strict"].outcome, done["strict"].reason) == ("refused", "window_not_incremental")
    shop.assert_right("always")


def test_an_incremental_run_that_gives_up_is_recomputed_with_its_reason(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.fall_back["totals"] = "budget_exceeded"
    shop.add("orders", (3, 40))
    done = shop.cycle(keeper)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "budget_exceeded")
    shop.assert_right()


def test_files_that_are_gone_are_a_reason_to_recompute(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.failing["totals"] = PlanAgain("missing_file", "part-0 is gone")
    shop.add("orders", (3, 40))

    def mended() -> None:
        shop.lake.failing.clear()

    shop.lake.on_refresh["totals"] = mended
    done = shop.cycle(keeper)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "history_gone")
    shop.assert_right()


def test_what_cannot_be_planned_fails_with_the_last_error(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.lake.failing["totals"] = PlanAgain("missing_file", "part-0 is gone")
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].message) == ("failed", "part-0 is gone")


def test_an_empty_change_commits_nothing_and_advances(shop: Shop) -> None:
    shop.dataset("orders", (1, 5))
    shop.view("totals", TOTALS)
    keeper = shop.open()
    shop.cycle(keeper)
    shop.add("orders", (1, 0))
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("unchanged", "empty_change")
    assert shop.cycle(keeper)["totals"].reason == "no_new_versions"
    assert shop.table("totals").version == 0


def test_force_recomputes_only_what_was_named(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.clock.step()
    report = keeper.refresh("totals", recompute=True)
    assert [(one.view, one.strategy, one.reason) for one in report.views] == [("totals", "recompute", "requested")]


# --- failures ---------------------------------------------------------------------------------------------------------


def chain(shop: Shop) -> Shop:
    shop.dataset("orders", (1, 5), (2, 30))
    shop.dataset("other", (1, 1))
    shop.view("first", "SELECT k, v FROM orders WHERE v > 1")
    shop.view("second", "SELECT k, sum(v) AS total FROM first GROUP BY k")
    shop.view("third", "SELECT max(total) AS top FROM second")
    shop.view("aside", "SELECT k FROM other")
    return shop


def test_a_chain_is_refreshed_in_one_cycle(shop: Shop) -> None:
    keeper = chain(shop).open()
    shop.cycle(keeper)
    shop.assert_right()
    shop.add("orders", (1, 100))
    done = shop.cycle(keeper)
    assert [one for one in done if done[one].outcome == "committed"] == ["first", "second", "third"]
    shop.assert_right()
    shop.assert_consistent()


def test_a_failed_view_keeps_its_content_and_its_readers_wait(shop: Shop) -> None:
    keeper = chain(shop).open()
    shop.cycle(keeper)
    shop.add("orders", (1, 100))
    shop.add("other", (2, 2))
    shop.lake.failing["second"] = MustStop("engine_error", "no memory")
    done = shop.cycle(keeper)
    assert {name: one.outcome for name, one in done.items()} == {
        "first": "committed",
        "second": "failed",
        "third": "waiting",
        "aside": "committed",
    }
    assert done["third"].reason == "upstream_failed"
    assert '"second"' in done["third"].message
    shop.assert_consistent()
    del shop.lake.failing["second"]
    shop.cycle(keeper)
    shop.assert_right()


def test_a_view_that_does_not_compile_takes_only_its_readers_with_it(shop: Shop) -> None:
    chain(shop)
    shop.view("second", "SELECT no such column FROM first")
    keeper = shop.open()
    done = shop.cycle(keeper)
    assert {name: one.outcome for name, one in done.items()} == {
        "first": "committed",
        "aside": "committed",
        "second": "failed",
        "third": "waiting",
    }
    assert {one.name: one.state for one in keeper.status().views}[ViewName("second")] == "not_planned"


def test_history_that_cannot_be_written_is_a_notice(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.lake.fail_appends = ["store_error"] * 20
    shop.clock.step()
    report = keeper.run_cycle(cause="test")
    assert report.changed
    assert [notice.subject for notice in report.notices] == ["artifacts"]
    shop.lake.fail_appends = []
    shop.cycle(keeper)
    assert {one.view for one in keeper.history()} == {"large", "totals"}


# --- races ------------------------------------------------------------------------------------------------------------


def test_the_loser_of_a_race_reads_the_winner_and_is_done(shop: Shop) -> None:
    keeper, rival = simple(shop).open(), shop.open()
    shop.cycle(keeper)
    shop.cycle(rival)
    shop.add("orders", (3, 40))

    def rival_is_faster() -> None:
        shop.cycle(rival)

    shop.lake.before_commit["totals"] = rival_is_faster
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("lost_race", "lost_race")
    assert shop.table("totals").version == 1
    shop.assert_right()
    assert {one.reason for one in shop.cycle(keeper).values()} == {"no_new_versions"}


def test_a_race_lost_to_older_pins_is_run_again(shop: Shop) -> None:
    keeper, rival = simple(shop).open(), shop.open()
    shop.cycle(keeper)
    shop.cycle(rival)
    shop.add("orders", (3, 40))

    def foreign_rows() -> None:
        shop.add("totals", (99, 99))

    shop.lake.before_commit["totals"] = foreign_rows
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("committed", "target_modified")
    shop.assert_right()


def test_a_race_lost_to_a_newer_version_of_ours_leaves_its_commit_alone_until_it_is_readable(shop: Shop) -> None:
    keeper, rival = simple(shop).open(), shop.open()
    shop.cycle(keeper)
    shop.cycle(rival)
    shop.add("orders", (3, 40))

    def newer_is_faster() -> None:
        shop.cycle(rival)
        _says_format(shop, 2)

    shop.lake.before_commit["totals"] = newer_is_faster
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("refused", "newer_format")
    shop.add("orders", (4, 50))
    assert shop.cycle(keeper)["totals"].reason == "newer_format"
    assert shop.table("totals").version == 1
    _says_format(shop, 1)
    shop.clock.step(120_000)
    assert shop.cycle(keeper)["totals"].outcome == "committed"
    shop.assert_right()


def _says_format(shop: Shop, number: int) -> None:
    """Let the newest commit of `totals` say that it has a format."""
    now = shop.table("totals").now
    assert now.details is not None
    now.details = {**now.details, "format": number}


def test_a_race_lost_to_newer_pins_never_goes_back(shop: Shop) -> None:
    keeper, rival = simple(shop).open(), shop.open()
    shop.cycle(keeper)
    shop.cycle(rival)
    shop.add("orders", (3, 40))

    def rival_sees_more() -> None:
        shop.add("orders", (4, 50))
        shop.cycle(rival)

    shop.lake.before_commit["large"] = rival_sees_more
    done = shop.cycle(keeper)
    assert done["large"].outcome == "lost_race"
    assert done["totals"].reason == "lost_race"
    shop.assert_right()
    shop.cycle(keeper)
    shop.assert_right()


def test_a_writer_with_another_definition_is_a_conflict_that_stops_the_view(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.view("totals", "SELECT k, count(v) AS total FROM orders GROUP BY k")
    rival = shop.open()
    assert shop.cycle(rival)["totals"].reason == "definition_changed"
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("refused", "definition_conflict")
    version = shop.table("totals").version
    shop.add("orders", (3, 40))
    assert shop.cycle(keeper)["totals"].reason == "definition_conflict"
    assert shop.table("totals").version == version
    keeper.reload()
    assert shop.cycle(keeper)["totals"].outcome == "committed"
    shop.assert_right()


# --- commands and definitions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_view_waits_until_it_is_resumed(shop: Shop, *, restart: bool) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    keeper.pause("totals", "looking into it")
    shop.add("orders", (3, 40))
    keeper = shop.open() if restart else keeper
    done = shop.cycle(keeper)
    assert (done["totals"].outcome, done["totals"].reason) == ("waiting", "paused")
    assert "looking into it" in done["totals"].message
    assert {one.name: one.state for one in keeper.status().views} == {"large": "fresh", "totals": "paused"}
    shop.clock.step()
    keeper.resume("totals")
    assert shop.cycle(keeper)["totals"].outcome == "committed"
    shop.assert_right()


def test_an_edited_definition_is_recomputed_and_others_are_not_planned_again(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.compiled.clear()
    shop.view("totals", "SELECT k, max(v) AS total FROM orders GROUP BY k")
    report = keeper.reload()
    assert report.changed == ("totals",)
    assert shop.lake.compiled == ["totals"]
    done = shop.cycle(keeper)
    assert (done["totals"].strategy, done["totals"].reason) == ("recompute", "definition_changed")
    assert done["large"].reason == "no_new_versions"
    shop.assert_right()


def test_broken_definitions_change_nothing(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    (shop.root / "views" / "totals.sql").write_text("SELECT no such column FROM orders")
    with pytest.raises(DefinitionError):
        keeper.reload()
    (shop.root / "deltakeep.toml").write_text("[project\n")
    with pytest.raises(DefinitionError):
        keeper.reload()
    shop.add("orders", (3, 40))
    assert shop.cycle(keeper)["totals"].strategy == "incremental"
    shop.assert_right()


def test_a_view_that_disappears_is_reported_and_its_target_stays(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    left = shop.uri("totals")
    shop.drop_view("totals")
    assert keeper.reload().removed == ("totals",)
    report = keeper.run_cycle(cause="test")
    assert [(one.reason, one.subject) for one in report.notices] == [("orphaned", "totals")]
    assert left in shop.lake.tables


def test_another_engine_version_plans_again_without_recomputing(shop: Shop) -> None:
    shop.cycle(simple(shop).open())
    shop.lake.engine_version = "2"
    keeper = shop.open()
    shop.clock.step()
    report = keeper.run_cycle(cause="test")
    assert {one.reason for one in report.views} == {"no_new_versions"}
    assert {notice.reason for notice in report.notices} == {"engine_upgrade"}


def test_replan_compiles_even_if_the_key_holds(shop: Shop) -> None:
    keeper = simple(shop).open()
    shop.cycle(keeper)
    shop.lake.compiled.clear()
    report = keeper.replan("totals")
    assert shop.lake.compiled == ["totals"]
    assert report.fingerprint_before == report.fingerprint_after
    assert shop.cycle(keeper)["totals"].reason == "no_new_versions"


def test_unknown_names_are_errors_with_suggestions(shop: Shop) -> None:
    keeper = simple(shop).open()
    with pytest.raises(DefinitionError, match='did you mean "totals"') as raised:
        keeper.refresh("total")
    assert raised.value.code == "not_found"


def test_a_cycle_over_one_view_touches_only_its_part(shop: Shop) -> None:
    keeper = chain(shop).open()
    done = shop.cycle(keeper, "second")
    assert set(done) == {"first", "second"}


def test_events_tell_the_story_in_order(shop: Shop) -> None:
    keeper = simple(shop).open()
    events: list[CycleEvent] = []
    keeper.run_cycle(["totals"], cause="test", observer=events.append)
    assert [event.kind.value for event in events] == [
        "cycle_started",
        "view_examined",
        "refresh_planned",
        "refresh_step",
        "refresh_finished",
        "cycle_finished",
    ]
    assert events[4].fields["outcome"] == "committed"


def test_views_that_do_not_depend_on_each_other_run_beside_each_other(shop: Shop) -> None:
    simple(shop)
    toml = shop.root / "deltakeep.toml"
    shop.write()
    toml.write_text(toml.read_text() + "\n[engine]\nconcurrency = 4\n")
    keeper = Keeper.open(shop.root, clock=shop.clock, runtime=shop.runtime())
    keeper.run_cycle(cause="test")
    shop.assert_right()
