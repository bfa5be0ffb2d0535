"""TPC-H and TPC-DS end to end: views over datasets that change, each equal to its recomputation after each round.

A view whose analysis says that it is incremental has to be refreshed incrementally, every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from registry.view import StateTable
from tests import oracle
from tests.tpc.lives import SEEDS, Life, SuiteName, life

CHEAPER: Final[Mapping[SuiteName, frozenset[str]]] = {
    "tpch": frozenset(),
    "tpcds": frozenset({"q09", "q14__state", "q64", "q75__state"}),
}
"""Incremental views that are recomputed because that is cheaper: query 9 reads one table fifteen times, the groups of
query 14 join three sales tables with what is sold in all of them, those of query 75 join each with its returns, and
query 64 joins eighteen tables twice, most of which have changed."""

MANY_ROUNDS: Final = 20
MANY_SEEDS: Final = range(1, 4)
Form = Mapping[str, Any]
FORMS: Final[Mapping[str, Form]] = {
    "as_written": {},
    "without_limit": {"limited": False},
    "with_states": {"limited": False, "state_table": StateTable.ALWAYS},
}
"""Nearly all queries of TPC-DS end with a LIMIT, which hides what the operators below it could do."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A suite in one form, the rounds to live, and the share of views whose content has to move in them.

    Some queries of TPC-DS choose very few rows.
    """

    suite: SuiteName
    form: str
    rounds: int
    moved: float


SCENES: Final = (
    Scene("tpch", "as_written", 3, 1.0),
    Scene("tpcds", "as_written", 2, 0.75),
    Scene("tpch", "with_states", 2, 0.9),
    Scene("tpcds", "with_states", 1, 0.6),
)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.suite}_{scene.form}")
def test_all_views_equal_their_queries_after_inserts_deletes_and_updates(tmp_path: Path, scene: Scene) -> None:
    with life(tmp_path, scene.suite, SEEDS[scene.suite], **FORMS[scene.form]) as one:
        built = one.build()
        assert {record.outcome for record in built.done.values()} == {"committed"}, built.failures
        assert built.differences == {}
        before = one.contents()
        assert {view for view, rows in before.items() if blank(rows)} == set(), "what finds nothing proves nothing"
        moved = lived(one, scene.suite, scene.rounds, before)
        assert len(moved) >= scene.moved * len(before), set(before) - moved
        idle = one.workspace.cycle(one.keeper)
        assert {record.outcome for record in idle.values()} == {"skipped"}


@pytest.mark.long
@pytest.mark.parametrize("seed", MANY_SEEDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suite", ["tpch", "tpcds"])
def test_many_rounds(tmp_path: Path, suite: SuiteName, form: str, seed: int) -> None:
    with life(tmp_path, suite, seed, **FORMS[form]) as one:
        assert one.build().differences == {}
        lived(one, suite, MANY_ROUNDS, one.contents())


def lived(one: Life, suite: SuiteName, rounds: int, before: dict[str, oracle.Bag]) -> set[str]:
    """Live some rounds, none of which may leave a difference; return the views whose content moved."""
    moved: set[str] = set()
    for number in range(rounds):
        found = one.round()
        assert found.failures == {}, f"round {number}"
        assert found.differences == {}, f"round {number}"
        recomputed = {view: found.done[view].reason for view in found.recomputed & one.incremental - CHEAPER[suite]}
        assert recomputed == {}, f"round {number}"
        now = one.contents()
        moved |= {view for view, rows in now.items() if rows != before[view]}
        before = now
    return moved


def blank(rows: oracle.Bag) -> bool:
    """Whether there is no row, or none that says anything: no value but NULL and zero."""
    return not any(any(row) for row in rows)
