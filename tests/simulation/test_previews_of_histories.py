"""Previews over random histories: what each predicts is what the next cycle does, and none of them writes anything."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from incremental.keeper import Keeper
from incremental.preview import PreviewReport, PreviewRequest
from registry.artifact_rows import RefreshRecord
from registry.names import DatasetName, ViewName
from tests.simulation.chain import listing
from tests.simulation.test_previews import DAYS, SALES, SHOPS, VIEWS, files_of_preview, files_of_run, sales
from tests.workspace import Workspace

SEEDS: Final = 2
MANY_SEEDS: Final = 200
CYCLES: Final = 5
EDITS: Final = {
    "large": (
        "SELECT id, shop, amount FROM sales WHERE amount > {0}",
        "SELECT id, shop, amount, day FROM sales WHERE amount > {0}",
    ),
    "per_shop": (
        "SELECT shop, count(*) AS n, sum(amount) AS amount FROM sales WHERE id > {0} GROUP BY shop",
        "SELECT shop, count(*) AS n, max(amount) AS amount FROM sales WHERE id > {0} GROUP BY shop",
    ),
    "towns": ("SELECT city FROM shops WHERE shop > {0}", "SELECT DISTINCT city FROM shops WHERE shop > {0}"),
    "grown": ("SELECT shop, n FROM per_shop WHERE n > {0}", "SELECT shop, n + {0} AS n FROM per_shop"),
}
WHERES: Final = (
    "day = 'd1'",
    "day = 'd2' AND id < 100",
    "amount > 90",
    "shop = 3",
    "id = 100000",
    "day = 'd9'",
    "true",
)


@dataclass(slots=True)
class History:
    """A project to which something random happens before every cycle."""

    workspace: Workspace
    chance: random.Random
    started_ms: int
    made: int = 10_000
    told: list[str] = field(default_factory=list)

    def happen(self) -> None:
        table, shops, chance = self.workspace.datasets["sales"], self.workspace.datasets["shops"], self.chance
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            word = chance.choice(
                (
                    "append",
                    "append",
                    "append",
                    "large",
                    "delete",
                    "update",
                    "merge",
                    "optimize",
                    "overwrite",
                    "shop",
                    "close",
                )
            )
            self.told.append(word)
            self.made += 100
            match word:
                case "append":
                    table.append(sales(self.made, chance.randint(1, 30), chance.choice(DAYS)))
                case "large":
                    table.append([{"id": self.made, "shop": 1, "day": chance.choice(DAYS), "amount": 950}])
                case "delete":
                    table.delete(f"day = '{chance.choice(DAYS)}' AND id % 7 = {chance.randrange(7)}")
                case "update":
                    table.update({"amount": "amount + 1"}, f"id % 50 = {chance.randrange(50)}")
                case "merge":
                    table.merge(sales(self.made - 100, 5, chance.choice(DAYS)), on="id")
                case "optimize":
                    table.optimize()
                case "overwrite":
                    table.overwrite([*sales(self.made, 60, "d1"), *sales(self.made + 60, 20, "d2")])
                case "shop":
                    shops.append([{"shop": chance.randrange(8), "city": f"c{chance.randrange(4)}"}])
                case _:
                    shops.delete(f"shop = {chance.randrange(8)}")

    def edit(self) -> tuple[ViewName, str] | None:
        if self.chance.random() < 0.5:
            return None
        view = self.chance.choice(sorted(EDITS))
        return ViewName(view), self.chance.choice(EDITS[view]).format(self.chance.randrange(4))


def made(root: Path, seed: int) -> History:
    workspace = Workspace(root)
    table = workspace.dataset("sales", SALES, sales(0, 120, "d1"), partition_by=["day"])
    for number, day in enumerate(DAYS):
        table.append(sales(300 * (number + 1), 120, day))
    workspace.dataset("shops", SHOPS, [{"shop": number, "city": f"c{number % 3}"} for number in range(6)])
    for name, query in VIEWS.items():
        workspace.view(name, query)
    return History(workspace, random.Random(seed), workspace.clock.at_ms)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_previews_of_a_random_history_are_what_the_runs_do(tmp_path: Path, seed: int) -> None:
    live(made(tmp_path, seed), seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + MANY_SEEDS))
def test_previews_of_many_random_histories(tmp_path: Path, seed: int) -> None:
    live(made(tmp_path, seed), seed)


def live(history: History, seed: int) -> None:
    workspace = history.workspace
    keeper = workspace.open()
    for number in range(CYCLES):
        if number:
            history.happen()
        print(f"seed {seed}, cycle {number}, so far: {history.told}")
        previews = looked_ahead(history, keeper)
        workspace.clock.step()
        report = keeper.run_cycle(cause="test")
        for exact, preview in previews.items():
            assert_came_true(preview, {record.view: record for record in report.views}, exact=exact)
        expected, found = files_of_preview(previews[True]), files_of_run(keeper, report)
        stopped = {record.view for record in report.views if record.reason == "empty_change"}
        certain = {one.view for one in previews[True].views if one.certain} - stopped
        assert {key: files for key, files in expected.items() if key[0] in certain} == {
            key: files for key, files in found.items() if key[0] in certain
        }
        workspace.assert_right()
    keeper.close()


def looked_ahead(history: History, keeper: Keeper) -> dict[bool, PreviewReport]:
    """Ask every kind of preview; edits come true at once, so that the run that follows can be compared with them."""
    workspace, edit = history.workspace, history.edit()
    before = listing(workspace.root)
    for where in history.chance.sample(WHERES, 2):
        supposed = keeper.preview(
            PreviewRequest(dataset=DatasetName("sales"), where=where, exact=history.chance.random() < 0.5)
        )
        assert "towns" not in {one.view for one in supposed.affected} or workspace.clock.at_ms == history.started_ms
    previews: dict[bool, PreviewReport] = {}
    for exact in (False, True):
        edited = {} if edit is None else {edit[0]: edit[1]}
        previews[exact] = keeper.preview(PreviewRequest(exact=exact, edited=edited))
    assert listing(workspace.root) == before
    if edit is not None:
        history.told.append(f"edit {edit[0]}: {edit[1]}")
        workspace.view(edit[0], edit[1])
        keeper.reload()
    return previews


def assert_came_true(preview: PreviewReport, done: dict[str, RefreshRecord], *, exact: bool) -> None:
    for one in preview.views:
        record, shown = done[one.view], one.to_json()
        about = (
            f'"{one.view}" ({exact=}): {shown["strategy"]} {shown["reason"]}, then {record.strategy} {record.reason}'
        )
        if one.certain:
            assert one.affected == (record.outcome in {"committed", "unchanged"}), about
            assert one.plan.strategy == record.strategy, about
            if exact or record.reason != "empty_change":
                assert one.plan.reason.value == record.reason, about
        elif record.strategy == "skip":
            # A promise that came to nothing: the input that would change had an empty change.
            assert any(done[cause].reason == "empty_change" for cause in one.plan.promised), about
        if one.certain and one.affected:
            assert record.bytes_read is not None, about
            assert record.bytes_read <= shown["bytes_to_read"], about
            if exact and record.strategy == "incremental":
                counted = (shown["rows_inserted"], shown["rows_deleted"])
                assert counted == (record.rows_inserted, record.rows_deleted), about


@pytest.mark.parametrize(
    ("operation", "where"), [*(("delete", where) for where in WHERES), ("update", "day = 'd1'"), ("update", "shop = 3")]
)
def test_what_a_supposed_change_does_not_touch_is_not_touched_by_a_real_one(
    tmp_path: Path, operation: str, where: str
) -> None:
    history = made(tmp_path, 0)
    keeper = history.workspace.open()
    history.workspace.cycle(keeper)
    preview = keeper.preview(PreviewRequest(dataset=DatasetName("sales"), where=where))
    table = history.workspace.datasets["sales"]
    if operation == "delete":
        table.delete(where)
    else:
        # Of another value nobody could know which filters it would meet.
        table.update({"shop": "(shop + 1) % 5"}, where)
    records = history.workspace.cycle(keeper)
    refreshed = {view for view, record in records.items() if record.outcome == "committed"}
    assert refreshed <= {one.view for one in preview.affected}
    history.workspace.assert_right()
    keeper.close()
