"""The dashboards that ship: made by code, complete, linked, and about series that exist."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.metrics_catalogue import FAMILIES
from daemon.view_state import SERVICE_STATES
from grafana.alerts import ALERTS
from grafana.boards import TAG, Board
from grafana.make import BOARDS, FILES, FOLDER
from grafana.panels import STATE_COLOURS
from grafana.records import RECORDS
from tests.grafana.series import names_in, shown_series

PROMETHEUS = frozenset({"ALERTS", "scrape_samples_scraped"})
"""What Prometheus itself adds."""
by_uid = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def made(board: Board) -> Any:
    return json.loads((FOLDER / "dashboards" / f"{board.uid}.json").read_text())


def expressions(node: Any) -> Iterator[str]:
    """Every query of a dashboard, those of variables and annotations too."""
    match node:
        case dict():
            for key, value in node.items():
                if key in {"expr", "query"} and isinstance(value, str) and value != "prometheus":
                    yield value
                else:
                    yield from expressions(value)
        case list():
            for one in node:
                yield from expressions(one)
        case _:
            return


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dashboards/")])
def test_making_a_dashboard_again_gives_the_same_bytes(name: str) -> None:
    assert (FOLDER / name).read_text() == FILES[name]()


def test_only_what_is_made_is_there() -> None:
    found = {path.relative_to(FOLDER).as_posix() for kind in ("*.json", "*.yml") for path in FOLDER.rglob(kind)}
    assert found == {*FILES, "prometheus.yml"}


@by_uid
def test_a_dashboard_names_only_series_that_exist(board: Board) -> None:
    texts = list(expressions(made(board)))
    assert len(texts) > 15
    used = {name for text in texts for name in names_in(text)}
    assert used <= shown_series() | PROMETHEUS


def test_every_family_of_the_catalogue_is_in_a_panel_a_record_or_an_alert() -> None:
    texts = [text for board in BOARDS for text in expressions(made(board))]
    texts += [rule.expr for rule in ALERTS] + [rule.expr for rule in RECORDS]
    used = {name for text in texts for name in names_in(text)}
    assert [family.full_name for family in FAMILIES if not used & set(family.series)] == []


@by_uid
def test_a_panel_says_what_it_shows_in_which_unit(board: Board) -> None:
    panels = [panel for panel in made(board)["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in made(board)["panels"]}) == len(made(board)["panels"])
    for panel in panels:
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


@by_uid
def test_panels_fill_their_rows_and_cover_no_other(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in made(board)["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height, "a row has a gap"


@by_uid
def test_a_dashboard_is_chosen_by_data_source_job_and_daemon_and_leads_to_the_others(board: Board) -> None:
    dashboard = made(board)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    wanted = {"datasource", "job", "instance", *({board.subject.label} if board.subject else ())}
    assert set(variables) == wanted
    (links,) = dashboard["links"]
    assert (links["tags"], links["includeVars"], links["keepTime"]) == ([TAG], True, True)
    assert TAG in dashboard["tags"]
    # Importing asks for nothing: no inputs, no identity of somebody's installation.
    assert "__inputs" not in dashboard
    assert "id" not in dashboard
    assert dashboard["uid"] == board.uid
    for text in expressions(dashboard):
        if not text.startswith("label_values("):
            assert "$job" in text, text
            assert "$instance" in text, text


def test_what_a_click_opens_is_there_and_has_the_variable() -> None:
    boards = {board.uid: board for board in BOARDS}
    opening = [panel for board in BOARDS for panel in board.panels if panel.open is not None]
    assert opening
    for panel in opening:
        assert panel.open is not None
        subject = boards[panel.open].subject
        assert subject is not None
        assert subject.label == panel.pick


def test_every_state_of_a_view_has_a_colour() -> None:
    assert set(STATE_COLOURS) == set(SERVICE_STATES)


def test_limits_and_fixed_colours_belong_to_series_that_a_panel_has() -> None:
    for board in BOARDS:
        for panel in board.panels:
            legends = {query.legend for query in panel.queries}
            for name in panel.dashed:
                assert name in legends, (board.uid, panel.title, name)
