"""Random histories of random small tables: after each cycle every view equals its recomputation.

`make check` runs a few, always the same; `make fuzz` runs many.  A failure prints the history, which is the example to
keep, and the seed that replays it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from hypothesis import given, note
from hypothesis import strategies as st

from incremental.keeper import Keeper
from tests import oracle
from tests.lake import SourceTable
from tests.workspace import Workspace

FACTS: Final = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("k", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("amount", pa.int64()),
        pa.field("ratio", pa.float64()),
    ]
)
SIDES: Final = pa.schema([pa.field("k", pa.int64()), pa.field("name", pa.string())])

VIEWS: Final = {
    "copied": "SELECT * FROM facts",
    "filtered": "SELECT id, label FROM facts WHERE amount > 2",
    "computed": "SELECT k, coalesce(label, '-') AS label, amount * 2 AS doubled, ratio FROM facts WHERE k IS NOT NULL",
    "joined": "SELECT f.id, f.label, s.name FROM facts f JOIN sides s ON f.k = s.k",
    "self_joined": "SELECT a.id AS one, b.id AS other FROM facts a JOIN facts b ON a.k = b.k AND a.amount < b.amount",
    "united": "SELECT k, label AS name FROM facts WHERE amount < 3 UNION ALL SELECT k, name FROM sides",
    # No min or max over floats: among NaNs DataFusion's grouped ones depend on the order of the rows.
    "grouped": "SELECT k, count(*) AS n, sum(amount) AS s, min(label) AS l, max(id) AS m FROM facts GROUP BY k",
    "grouped_by_two": "SELECT k, label, count(amount) AS n FROM facts WHERE amount <> 1 GROUP BY k, label",
    "grouped_join": "SELECT s.name, sum(f.amount) AS total FROM facts f JOIN sides s ON f.k = s.k GROUP BY s.name",
    "having": "SELECT k, sum(amount) AS total FROM facts GROUP BY k HAVING sum(amount) > 4",
    "grouped_union": (
        "SELECT k, count(*) AS n FROM (SELECT k FROM facts UNION ALL SELECT k FROM sides WHERE name <> 'a') AS u "
        "GROUP BY k"
    ),
    "over_a_view": "SELECT label, count(*) AS n FROM filtered GROUP BY label",
    "view_with_dataset": "SELECT c.label, s.name FROM computed c JOIN sides s ON c.k = s.k WHERE c.doubled > 2",
    "diamond": "SELECT f.id, g.n FROM filtered f JOIN facts x ON f.id = x.id JOIN grouped g ON x.k = g.k",
    "distinct_rows": "SELECT DISTINCT k, label FROM facts",
    "counted_at_all": "SELECT count(*) AS n, sum(amount) AS total FROM facts",
    "extremes_of_all": (
        "SELECT max(amount) AS most, min(label) AS first, max(id) FILTER (WHERE k > 0) AS id, count(*) AS n FROM facts"
    ),
    "outer_joined": "SELECT f.id, s.name FROM facts f LEFT JOIN sides s ON f.k = s.k",
    "not_in_sides": "SELECT id FROM facts WHERE k NOT IN (SELECT k FROM sides)",
    "ranked": "SELECT id, k, rank() OVER (PARTITION BY k ORDER BY amount) AS place FROM facts",
    "topmost": "SELECT id, k, label, amount, ratio FROM facts ORDER BY amount DESC, id, k, label, ratio LIMIT 3",
}

KEYS: Final = st.one_of(st.none(), st.integers(0, 3))
LABELS: Final = st.sampled_from([None, "", "a", "b", "ä"])
RATIOS: Final = st.sampled_from([None, 0.0, -0.0, 0.5, float("nan"), float("inf")])
FACT_ROWS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 9),
            "k": KEYS,
            "label": LABELS,
            "amount": st.one_of(st.none(), st.integers(0, 4)),
            "ratio": RATIOS,
        }
    ),
    min_size=1,
    max_size=8,
)
SIDE_ROWS: Final = st.lists(st.fixed_dictionaries({"k": KEYS, "name": LABELS}), min_size=1, max_size=4)
PREDICATES: Final = st.sampled_from(["k = 1", "k IS NULL", "k > 1", "k = 0 OR k = 2", "k < 100"])


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a table, or a cycle."""

    kind: str
    table: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    predicate: str = ""
    number: int = 0

    def __str__(self) -> str:
        rows = str(list(self.rows)) if self.rows else ""
        return f"{self.kind} {self.table} {self.predicate}{rows} {self.number}"


def events_of(table: str, rows: st.SearchStrategy[list[dict[str, Any]]]) -> list[st.SearchStrategy[Event]]:
    with_rows = ["append", "append", "append", "merge", "overwrite", "recreate"]
    with_predicate = ["delete", "update", "delete_by_vector"]
    plain = ["optimize", "vacuum", "add_column", "restore"]
    return [
        st.builds(Event, st.sampled_from(with_rows), st.just(table), rows.map(tuple)),
        st.builds(Event, st.sampled_from(with_predicate), st.just(table), predicate=PREDICATES),
        st.builds(Event, st.sampled_from(plain), st.just(table), number=st.integers(0, 9)),
    ]


EVENTS: Final = st.one_of(
    *events_of("facts", FACT_ROWS), *events_of("sides", SIDE_ROWS), st.just(Event("cycle")), st.just(Event("cycle"))
)
HISTORIES: Final = st.lists(EVENTS, min_size=2, max_size=12)
CHOSEN_VIEWS: Final = st.sets(st.sampled_from(sorted(VIEWS)), min_size=2, max_size=5)


def happen(event: Event, table: SourceTable) -> None:
    rows = [dict.fromkeys(table.schema.names) | row for row in event.rows]
    key = "id" if event.table == "facts" else "k"
    older = max(table.readable_since, table.version - 1 - event.number % 3)
    changes: dict[str, Callable[[], int]] = {
        "append": lambda: table.append(rows),
        "merge": lambda: table.merge(list({row[key]: row for row in rows}.values()), on=key),
        "overwrite": lambda: table.overwrite(rows),
        "recreate": lambda: table.recreate(rows),
        "delete": lambda: table.delete(event.predicate),
        "update": lambda: table.update({"k": "k + 1"}, event.predicate),
        "delete_by_vector": lambda: table.delete_by_vector(lambda row: row["k"] == event.number % 4),
        "optimize": table.optimize,
        "vacuum": table.vacuum,
        "add_column": lambda: table.add_column(f"added_{table.version}", "long"),
        "restore": lambda: table.restore(older) if older < table.version else older,
    }
    changes[event.kind]()


def with_inputs(chosen: set[str]) -> dict[str, str]:
    wanted = set(chosen)
    for name in chosen:
        wanted |= {other for other in VIEWS if other in VIEWS[name].split()}
    return {name: query for name, query in VIEWS.items() if name in wanted}


@dataclass(frozen=True, slots=True)
class Start:
    """The tables as they are at first, and the views over them."""

    facts: list[dict[str, Any]]
    sides: list[dict[str, Any]]
    views: set[str]
    deletion_vectors: bool
    change_data_feed: bool
    partition_by: tuple[str, ...]

    def make(self, folder: Path) -> Workspace:
        workspace = Workspace(folder)
        feed = self.change_data_feed and not self.deletion_vectors
        workspace.dataset(
            "facts",
            FACTS,
            self.facts,
            partition_by=self.partition_by,
            deletion_vectors=self.deletion_vectors,
            change_data_feed=feed,
        )
        workspace.dataset("sides", SIDES, self.sides)
        for name, query in with_inputs(self.views).items():
            workspace.view(name, query)
        return workspace

    def allows(self, event: Event) -> bool:
        """The PyPI package's VACUUM takes live vectors away, and only one of the tables has vectors at all."""
        has_vectors = self.deletion_vectors and event.table == "facts"
        return {"delete_by_vector": has_vectors, "vacuum": not has_vectors}.get(event.kind, True)


PARTITIONINGS: Final = st.sampled_from([(), (), ("k",), ("k", "id")])
STARTS: Final = st.builds(
    Start, FACT_ROWS, SIDE_ROWS, CHOSEN_VIEWS, st.booleans(), st.booleans(), partition_by=PARTITIONINGS
)


@given(start=STARTS, history=HISTORIES)
def test_every_view_equals_its_recomputation_after_every_cycle(start: Start, history: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = start.make(Path(folder))
        keeper = workspace.open()
        try:
            cycle_and_check(workspace, keeper, "its first build")
            for number, event in enumerate([*history, Event("cycle")]):
                note(f"{number}: {event}")
                if event.kind == "cycle":
                    cycle_and_check(workspace, keeper, f"event {number}")
                elif start.allows(event):
                    happen(event, workspace.datasets[event.table])
        finally:
            keeper.close()


def cycle_and_check(workspace: Workspace, keeper: Keeper, after: str) -> None:
    """Views are right, their feeds lead from the old content to the new one, and another cycle does nothing."""
    before = {name: (target.version, target.content().schema) for name, target in workspace.targets().items()}
    records = workspace.cycle(keeper)
    assert not [record.error for record in records.values() if record.error]
    workspace.assert_right(about=f"after {after}")
    targets = workspace.targets()
    for name, (version, schema) in before.items():
        if targets[name].content().schema == schema:
            oracle.assert_feed_leads_from_to(targets[name].path, version, targets[name].version, about=name)
    versions = {name: target.version for name, target in targets.items()}
    records = workspace.cycle(keeper)
    assert {record.strategy for record in records.values()} <= {"skip"}
    assert {name: target.version for name, target in workspace.targets().items()} == versions
