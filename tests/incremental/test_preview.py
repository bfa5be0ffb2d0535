"""What is predicted is what the run does, and predicting writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from incremental.keeper import Keeper
from incremental.preview import PreviewRequest
from registry.errors import DefinitionError
from registry.names import DatasetName, ViewName
from tests.incremental.fake_lake import Shop


def project(shop: Shop) -> Shop:
    shop.dataset("orders", (1, 5), (1, 20), (2, 30))
    shop.dataset("other", (1, 1))
    shop.view("large", "SELECT k, v FROM orders WHERE v > 10")
    shop.view("totals", "SELECT k, sum(v) AS total FROM orders GROUP BY k")
    shop.view("top", "SELECT max(total) AS top FROM totals")
    shop.view("aside", "SELECT k FROM other")
    return shop


def picture(shop: Shop) -> tuple[dict[str, int], int]:
    return {uri: table.version for uri, table in shop.lake.tables.items()}, len(shop.lake.appends)


def built(shop: Shop) -> Keeper:
    keeper = project(shop).open()
    shop.cycle(keeper)
    return keeper


def test_pending_changes_are_predicted_as_they_then_happen(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (7, 1))
    before = picture(shop)
    report = keeper.preview(PreviewRequest(exact=True))
    assert picture(shop) == before
    predicted = {one.view: (one.affected, one.plan.strategy, one.plan.reason.value) for one in report.views}
    assert predicted == {
        "large": (False, "skip", "filtered_out"),
        "totals": (True, "incremental", "incremental"),
        "top": (True, "incremental", "incremental"),
        "aside": (False, "skip", "no_new_versions"),
    }
    assert report.of("top").path == ("orders", "totals", "top")
    assert not report.of("top").certain
    rows = report.of("totals").to_json()
    done = shop.cycle(keeper)
    assert (rows["rows_inserted"], rows["rows_deleted"]) == (done["totals"].rows_inserted, done["totals"].rows_deleted)
    for name, (affected, strategy, reason) in predicted.items():
        if name != "top":
            assert (done[name].outcome == "committed", done[name].strategy, done[name].reason) == (
                affected,
                strategy,
                reason,
            )


def test_a_change_that_is_known_to_be_empty_stops_there(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("orders", (1, 0))
    report = keeper.preview(PreviewRequest(exact=True))
    assert report.of("totals").affected
    assert not report.of("top").affected
    assert keeper.preview(PreviewRequest()).of("top").affected


def test_first_builds_are_predicted_down_the_graph(shop: Shop) -> None:
    keeper = project(shop).open()
    report = keeper.preview(PreviewRequest())
    assert {one.plan.reason.value for one in report.affected} == {"first_build"}
    assert len(report.affected) == 4
    assert report.to_json()["affected"] == 4


def test_a_hypothetical_change_reaches_only_its_readers(shop: Shop) -> None:
    keeper = built(shop)
    shop.add("other", (3, 3))
    before = picture(shop)
    report = keeper.preview(PreviewRequest(dataset=DatasetName("orders"), where="k = 1"))
    assert picture(shop) == before
    assert report.kind == "hypothetical"
    assert {one.view for one in report.views if one.affected} <= {"large", "totals", "top"}
    assert not report.of("aside").affected


def test_an_edited_text_is_previewed_without_taking_it_over(shop: Shop) -> None:
    keeper = built(shop)
    edited = {ViewName("totals"): "SELECT k, count(v) AS n FROM orders GROUP BY k"}
    with pytest.raises(DefinitionError):
        keeper.preview(PreviewRequest(edited=edited))
    edited[ViewName("top")] = "SELECT max(n) AS top FROM totals"
    before = picture(shop)
    report = keeper.preview(PreviewRequest(edited=edited))
    assert picture(shop) == before
    totals = report.of("totals")
    assert (totals.definition, totals.plan.strategy, totals.plan.reason.value) == (
        "changed",
        "recompute",
        "definition_changed",
    )
    assert [(one.column, one.before, one.after) for one in totals.columns] == [
        ("total", "long", None),
        ("n", None, "long"),
    ]
    assert report.of("large").definition == "unchanged"
    assert not report.of("large").affected
    assert {one.reason for one in shop.cycle(keeper).values()} == {"no_new_versions"}


def test_another_folder_of_definitions_reads_our_data_and_writes_nowhere(shop: Shop, tmp_path: Path) -> None:
    keeper = built(shop)
    copy = tmp_path / "copy"
    shutil.copytree(shop.root / "views", copy / "views")
    shutil.copy(shop.root / "deltakeep.toml", copy / "deltakeep.toml")
    (copy / "views" / "large.sql").write_text("SELECT k, v FROM orders WHERE v > 15")
    (copy / "views" / "new.sql").write_text("SELECT k FROM large")
    (copy / "views" / "aside.sql").unlink()
    report = keeper.preview(PreviewRequest(definitions=str(copy)))
    assert {one.view: one.definition for one in report.views} == {
        "large": "changed",
        "new": "added",
        "totals": "unchanged",
        "top": "unchanged",
    }
    assert report.orphaned == ("aside",)
    assert report.of("new").path == ("large", "new")
    assert not report.of("totals").affected


def test_a_dataset_that_nobody_declared_is_an_error(shop: Shop) -> None:
    keeper = built(shop)
    with pytest.raises(DefinitionError, match='did you mean "orders"'):
        keeper.preview(PreviewRequest(dataset=DatasetName("order"), where="true"))
