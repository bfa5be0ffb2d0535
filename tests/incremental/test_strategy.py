from __future__ import annotations

import pytest

from incremental.frontier import Absent, Broken, Frontier, Held
from incremental.invalidation import Nothing, Stale, Unusable, Verdict
from incremental.strategy import (
    TIMED_SAMPLES,
    TRIAL_AFTER,
    Choice,
    Demand,
    Estimate,
    Experience,
    Forbidden,
    Recompute,
    SkipIt,
    TryIncremental,
    choose,
    correction_of,
    depends_on_clock,
    given_up,
    goes_with_time,
    known_reason,
    propose,
)
from registry.bundle import MaintenanceAnalysis
from registry.names import RelationName
from registry.native import OperatorMaintenance, RefreshPlan, ScanUnit, Strategy
from registry.reasons import ReasonCode
from registry.view import RefreshPolicy

HELD = Held(Frontier({}, {}, {}))
STALE = Stale((RelationName("orders"),))
IDLE = Nothing(ReasonCode.NO_NEW_VERSIONS, "", False)
GONE = Unusable(ReasonCode.HISTORY_GONE, "gone")
GOOD = MaintenanceAnalysis(incremental=True)
BAD = MaintenanceAnalysis(
    incremental=False,
    reason="window_not_incremental",
    operators=(OperatorMaintenance(operator="WindowAggr", how="recompute", reason="window_not_incremental"),),
)
EDITED = Broken(ReasonCode.DEFINITION_CHANGED, "edited")
MODIFIED = Broken(ReasonCode.TARGET_MODIFIED, "modified")
AUTO, STRICT, ALWAYS = RefreshPolicy.AUTO, RefreshPolicy.INCREMENTAL, RefreshPolicy.RECOMPUTE


@pytest.mark.parametrize(
    ("state", "verdict", "maintenance", "policy", "demand", "kind", "reason"),
    [
        (Absent(ReasonCode.FIRST_BUILD, ""), None, GOOD, STRICT, Demand(), Recompute, "first_build"),
        (HELD, IDLE, GOOD, AUTO, Demand(), SkipIt, "no_new_versions"),
        (HELD, IDLE, GOOD, ALWAYS, Demand(), SkipIt, "no_new_versions"),
        (HELD, IDLE, GOOD, STRICT, Demand(recompute=True), Recompute, "requested"),
        (HELD, IDLE, BAD, AUTO, Demand(clock=True), Recompute, "clock_dependent"),
        (HELD, IDLE, BAD, STRICT, Demand(clock=True), Forbidden, "clock_dependent"),
        (HELD, IDLE, GOOD, AUTO, Demand(clock=True), TryIncremental, None),
        (HELD, IDLE, GOOD, STRICT, Demand(clock=True), TryIncremental, None),
        (HELD, IDLE, GOOD, ALWAYS, Demand(clock=True), Recompute, "clock_dependent"),
        (HELD, STALE, GOOD, AUTO, Demand(), TryIncremental, None),
        (HELD, STALE, GOOD, ALWAYS, Demand(), Recompute, "policy_recompute"),
        (HELD, STALE, BAD, AUTO, Demand(), Recompute, "window_not_incremental"),
        (HELD, STALE, BAD, STRICT, Demand(), Forbidden, "window_not_incremental"),
        (HELD, GONE, GOOD, AUTO, Demand(), Recompute, "history_gone"),
        (HELD, GONE, GOOD, STRICT, Demand(), Forbidden, "history_gone"),
        (EDITED, None, GOOD, STRICT, Demand(), Recompute, "definition_changed"),
        (MODIFIED, None, GOOD, AUTO, Demand(), Recompute, "target_modified"),
        (MODIFIED, None, GOOD, STRICT, Demand(), Forbidden, "target_modified"),
    ],
)
def test_what_is_proposed(
    state: Absent | Broken | Held,
    verdict: Verdict | None,
    maintenance: MaintenanceAnalysis,
    policy: RefreshPolicy,
    demand: Demand,
    kind: type[object],
    reason: str | None,
) -> None:
    found = propose(state, verdict, maintenance, policy, demand)
    assert isinstance(found, kind)
    assert getattr(found, "reason", None) == reason


def plan(read: int, write: int, recompute: int) -> RefreshPlan:
    return RefreshPlan(
        strategy="incremental", bytes_to_read=read, bytes_to_write_bound=write, recompute_bytes=recompute
    )


MB = 1_000_000
FRESH = Experience()


def experienced(*refreshes: tuple[Strategy, float], size: float = 0.0) -> Experience:
    """What refreshes of equal size teach, given by path and milliseconds."""
    experience = FRESH
    for strategy, took_ms in refreshes:
        experience = experience.after(Estimate(strategy, 0, 0, size, took_ms))
    return experience


def times(number: int, strategy: Strategy, took_ms: float) -> list[tuple[Strategy, float]]:
    return [(strategy, took_ms)] * number


def chosen(experience: Experience, policy: RefreshPolicy = AUTO) -> Choice:
    found = choose(plan(0, 0, 0), 0, experience, policy)
    assert isinstance(found, Choice)
    return found


def test_the_cheaper_path_is_chosen() -> None:
    assert choose(plan(10, 0, 100 * MB), 50 * MB, FRESH, AUTO).reason is ReasonCode.INCREMENTAL
    assert choose(plan(1900 * MB, 50 * MB, 100 * MB), 50 * MB, FRESH, AUTO).reason is ReasonCode.CHEAPER_RECOMPUTE
    assert choose(plan(1900 * MB, 50 * MB, 100 * MB), 50 * MB, FRESH, STRICT).reason is ReasonCode.INCREMENTAL


def test_rows_that_have_to_be_compared_cost_more_than_those_that_came() -> None:
    """A file that was rewritten for one row is read twice, and all of its rows are compared."""

    def strategy(read: int, compare: int) -> str:
        units = (ScanUnit(relation="facts", version=1, side="changes", bytes=read),)
        proposed = plan(read, 0, 100 * MB).model_copy(update={"scan_units": units, "bytes_to_compare": compare})
        found = choose(proposed, 0, FRESH, AUTO)
        assert isinstance(found, Choice)
        return found.strategy

    assert strategy(100 * MB, 0) == "incremental"
    assert strategy(25 * MB, 25 * MB) == "incremental", "a file of eight, before and now"
    assert strategy(100 * MB, 100 * MB) == "recompute"
    assert strategy(200 * MB, 200 * MB) == "recompute", "no key rules out any of it"


def test_small_work_hands_on_exact_changes() -> None:
    assert choose(plan(9_000, 500, 1_000), 500, FRESH, AUTO).reason is ReasonCode.INCREMENTAL
    assert choose(plan(90 * MB, 500, 1_000), 500, FRESH, AUTO).reason is ReasonCode.CHEAPER_RECOMPUTE


def test_the_views_own_history_corrects_the_estimate() -> None:
    read_little = FRESH.after(Estimate("recompute", 100, 100)).after(Estimate("incremental", 100, 10))
    assert choose(plan(900 * MB, 50 * MB, 100 * MB), 50 * MB, read_little, AUTO).reason is ReasonCode.INCREMENTAL
    recompute = Estimate("recompute", 100, 50)
    assert correction_of([]) == 0.5
    assert correction_of([Estimate("incremental", 100, 50)]) == 0.5
    assert correction_of([recompute]) == 0.5
    assert correction_of([recompute, *(Estimate("incremental", 100, actual) for actual in (50, 40, 60))]) == 1.0
    assert correction_of([recompute, Estimate("incremental", 100, 1)]) == 0.1
    assert correction_of([recompute, Estimate("incremental", 1, 1_000)]) == 4.0
    assert correction_of([recompute, Estimate("incremental", 0, 10)]) == 0.5


def test_milliseconds_overrule_bytes_once_both_paths_were_timed() -> None:
    slow = [*times(1, "recompute", 50), *times(TIMED_SAMPLES - 1, "incremental", 120)]
    assert chosen(experienced(*slow)).strategy == "incremental", "not timed often enough"
    taught = experienced(*slow, ("incremental", 120))
    assert (chosen(taught).strategy, chosen(taught).reason) == ("recompute", ReasonCode.CHEAPER_RECOMPUTE)
    assert chosen(taught).message.startswith("Incremental would take about 120 ms by the view's own history")
    assert chosen(taught, STRICT).strategy == "incremental"


@pytest.mark.parametrize(("incremental_ms", "recompute_ms"), [(19, 10), (109, 100), (5, 500)])
def test_exact_changes_are_worth_a_few_milliseconds(incremental_ms: float, recompute_ms: float) -> None:
    taught = experienced(("recompute", recompute_ms), *times(TIMED_SAMPLES, "incremental", incremental_ms))
    assert chosen(taught).strategy == "incremental"


def test_times_teach_of_changes_of_the_same_inputs() -> None:
    slow = [Estimate("incremental", 0, 0, 0, 500, frozenset({"kinds"}))] * TIMED_SAMPLES
    taught = experienced(("recompute", 50))
    for estimate in slow:
        taught = taught.after(estimate)

    def strategy(relation: str) -> str:
        units = (ScanUnit(relation=relation, version=1, side="changes"),)
        found = choose(plan(0, 0, 0).model_copy(update={"scan_units": units}), 0, taught, AUTO)
        assert isinstance(found, Choice)
        return found.strategy

    assert strategy("kinds") == "recompute"
    assert strategy("facts") == "incremental", "nobody knows yet"


def test_one_refresh_that_was_given_up_is_lesson_enough() -> None:
    taught = experienced(("recompute", 50))
    choice = chosen(taught)
    assert (choice.strategy, choice.limit_rows) == ("incremental", 20_000)
    lesson = given_up(plan(0, 0, 0), 30, choice, 0)
    assert (lesson.took_ms, lesson.given_up) == (85, True)
    taught = taught.after(lesson).after(Estimate("recompute", 0, 0, 0, 50))
    assert chosen(taught).strategy == "recompute"


def test_more_rows_may_change_where_a_recompute_takes_longer() -> None:
    assert chosen(experienced(("recompute", 500))).limit_rows == 200_000
    unknown = choose(plan(0, 0, 300 * MB), 100 * MB, FRESH, AUTO)
    assert isinstance(unknown, Choice)
    assert unknown.limit_rows == 8_000_000, "a slow one is supposed where nobody knows"
    assert chosen(experienced(("recompute", 500)), STRICT).limit_rows is None


def test_one_slow_refresh_decides_nothing() -> None:
    taught = experienced(("recompute", 50), ("incremental", 40), ("incremental", 4_000), ("incremental", 45))
    assert chosen(taught).strategy == "incremental"


def test_what_committed_nothing_teaches_no_time() -> None:
    taught = experienced(("recompute", 50), *times(TIMED_SAMPLES, "incremental", 0))
    costs = chosen(taught).costs
    assert costs is not None
    assert costs.incremental_ms is None


def test_expected_time_grows_with_the_size() -> None:
    taught = experienced(("recompute", 50), *times(TIMED_SAMPLES, "incremental", 40), size=10 * MB)
    found = choose(plan(40 * MB, 0, 10 * MB), 0, taught, AUTO)
    assert found.reason is ReasonCode.CHEAPER_RECOMPUTE
    assert choose(plan(10 * MB, 0, 10 * MB), 0, taught, AUTO).reason is ReasonCode.INCREMENTAL


def test_the_other_path_is_tried_again_for_a_small_share_of_the_time() -> None:
    taught = experienced(*times(TIMED_SAMPLES, "incremental", 100), *times(TRIAL_AFTER - 1, "recompute", 50))
    assert chosen(taught).strategy == "recompute", "too early"
    refreshes = 0
    while chosen(taught).strategy == "recompute":
        taught, refreshes = taught.after(Estimate("recompute", 0, 0, 0, 50)), refreshes + 1
        assert refreshes < 100
    spent_ms = taught.in_a_row_ms
    assert 50 <= spent_ms * 0.05 < 60, "the trial costs 50 ms more than what it stands in for"
    assert "tried again" in chosen(taught).message
    taught = taught.after(Estimate("incremental", 0, 0, 0, 100))
    assert chosen(taught).strategy == "recompute", "the trial showed nothing new"


def test_a_path_that_was_never_timed_is_tried_once_although_its_bytes_speak_against_it() -> None:
    def strategy(experience: Experience, read: int = 40 * MB, changed: int = MB) -> str:
        units = (ScanUnit(relation="facts", version=1, side="changes", bytes=changed),)
        proposed = plan(read, 50 * MB, 100 * MB).model_copy(update={"scan_units": units})
        found = choose(proposed, 50 * MB, experience, AUTO)
        assert isinstance(found, Choice)
        return found.strategy

    dear = 700 * MB
    assert strategy(FRESH, dear) == "recompute", "nothing to compare with"
    taught = experienced(*times(1, "recompute", 900))
    assert strategy(taught, dear) == "incremental", "the first build was timed"
    assert strategy(taught, dear, changed=10 * MB) == "recompute", "keys of so many changes rule out little"
    assert strategy(taught, 5_000 * MB) == "recompute", "far too dear"
    assert strategy(taught.without_times(), dear) == "recompute", "nothing could be learnt of milliseconds"
    for _ in range(TIMED_SAMPLES):
        taught = taught.after(Estimate("incremental", 0, 0, 700 * MB, 30)).after(Estimate("recompute", 0, 0, 0, 900))
        taught = taught.after(Estimate("recompute", 0, 0, 0, 900))
    assert strategy(taught, dear) == "incremental", "by its time"


def test_a_path_that_is_far_slower_is_not_tried_again() -> None:
    taught = experienced(("recompute", 5_000), *times(10_000, "incremental", 20))
    assert chosen(taught).strategy == "incremental"


def test_what_the_engine_cannot_plan_is_recomputed_or_forbidden() -> None:
    found = RefreshPlan(strategy="recompute", reason="missing_file", message="vacuumed")
    assert choose(found, 0, FRESH, AUTO) == Choice("recompute", ReasonCode.HISTORY_GONE, "vacuumed", None)
    assert choose(found, 0, FRESH, STRICT) == Forbidden(ReasonCode.HISTORY_GONE, "vacuumed")


def test_codes_of_the_engine_become_reasons() -> None:
    assert known_reason("out_of_memory", ReasonCode.REFRESH_FAILED) is ReasonCode.BUDGET_EXCEEDED
    assert known_reason("table_replaced", ReasonCode.REFRESH_FAILED) is ReasonCode.TABLE_REPLACED
    assert known_reason("something_new", ReasonCode.REFRESH_FAILED) is ReasonCode.REFRESH_FAILED
    assert known_reason(None, ReasonCode.REFRESH_FAILED) is ReasonCode.REFRESH_FAILED


def test_the_clock_is_an_input_of_some_views() -> None:
    assert not depends_on_clock(GOOD)
    assert depends_on_clock(MaintenanceAnalysis(reason="clock_dependent"))
    recent = (OperatorMaintenance(operator="Filter: at > now()", how="temporal_filter"),)
    assert depends_on_clock(MaintenanceAnalysis(incremental=True, operators=recent))
    assert goes_with_time(MaintenanceAnalysis(incremental=True, operators=recent))
    assert depends_on_clock(MaintenanceAnalysis(reason="limit_not_incremental", operators=recent))
    assert not goes_with_time(MaintenanceAnalysis(reason="limit_not_incremental", operators=recent))
