"""Boards: a dashboard's variables, links, annotations and rows around its panels.

A daemon is chosen by `job` and `instance`; a board about one thing has that thing as a variable too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from grafana.panels import DATASOURCE, Panel, built

TAG: Final = "deltakeep"
DAEMON: Final = 'job=~"$job",instance=~"$instance"'
"""What every query selects by."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The thing that a board is about: a label, and the series that has all of its values."""

    label: str
    series: str


@dataclass(frozen=True, slots=True)
class Row:
    """A headline and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; without a subject it shows everything of the daemons chosen."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    subject: Subject | None = None

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, from top to bottom."""
        return tuple(panel for row in self.rows for panel in row.panels)


def board_json(board: Board) -> str:
    """The dashboard as Grafana imports it."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Job", "label_values(deltakeep_build_info, job)"))
        .with_variable(_variable("instance", "Daemon", 'label_values(deltakeep_build_info{job=~"$job"}, instance)'))
        .annotation(_annotation("Definitions taken over", "deltakeep_config_last_reload_success_timestamp_seconds"))
        .annotation(_annotation("Daemon started", "process_start_time_seconds"))
    )
    if board.subject is not None:
        label, series = board.subject.label, board.subject.series
        query = f"label_values({series}{{{DAEMON}}}, {label})"
        made = made.with_variable(_variable(label, label.capitalize(), query))
    number = 0
    for row in board.rows:
        number += 1
        made = made.with_row(builders.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made = made.with_panel(built(panel, number))
    return str(JSONEncoder(sort_keys=True, indent=2).encode(made.build())) + "\n"


def _variable(name: str, label: str, query: str) -> Any:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _links() -> Any:
    link = builders.DashboardLink("Deltakeep").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True).as_dropdown(False)


def _annotation(name: str, series: str) -> Any:
    # The query's value is the moment, so that an event is drawn where it happened and not where it was scraped.
    target = {"expr": f"{series}{{{DAEMON}}} * 1000", "refId": "Annotation", "useValueForTime": "on"}
    return _Annotation(name, target)


class _Annotation:
    """An annotation with Prometheus' own fields, which the library's builder does not know."""

    def __init__(self, name: str, fields: dict[str, str]) -> None:
        self._name = name
        self._fields = fields

    def build(self) -> Any:
        return _AnnotationQuery(self._name, self._fields)


class _AnnotationQuery(dashboard.AnnotationQuery):
    def __init__(self, name: str, fields: dict[str, str]) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, icon_color="blue")
        self._fields = fields

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self._fields, "titleFormat": self.name}
