"""Panels as values, and how Grafana draws each kind of them.

A panel says what it shows and why one would look; position, identity and data source come from its board.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

Kind = Literal["stat", "lines", "stack", "bars", "heatmap", "states", "table", "ranking"]
DATASOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD, WARN, BAD, CALM = "green", "orange", "red", "blue"
Steps = tuple[tuple[float | None, str], ...]
"""Colours from below: the first has no value, the others begin at theirs."""

STATE_COLOURS: Final[Mapping[str, str]] = {
    "fresh": GOOD,
    "due": CALM,
    "running": CALM,
    "late": BAD,
    "waiting": WARN,
    "paused": "purple",
    "failed": "dark-red",
}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are called; `instant` takes the value of now only."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `width` is in twenty-fourths.

    `dashed` names series that are limits rather than measurements, `colours` fixes colours of series by name.
    `open` is the board that a click on a row or bar opens, and `pick` the label that it takes along as its variable.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Steps = ()
    decimals: int | None = None
    dashed: tuple[str, ...] = ()
    colours: tuple[tuple[str, str], ...] = ()
    open: str | None = None
    pick: str | None = None
    hidden: tuple[str, ...] = ("Time",)
    empty: str | None = None


def built(panel: Panel, number: int) -> Any:
    """The panel as Grafana's library builds it."""
    made = _DRAWN[panel.kind](panel)
    made = made.id(number).title(panel.title).description(panel.description).unit(panel.unit)
    made = made.datasource(DATASOURCE).span(panel.width).height(panel.height)
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.steps:
        made = made.thresholds(_thresholds(panel.steps))
    if panel.empty is not None:
        made = made.no_value(panel.empty)
    for name in panel.dashed:
        made = made.override_by_name(name, [_property("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})])
    for name, colour in panel.colours:
        fixed = {"mode": "fixed", "fixedColor": colour}
        made = made.override_by_name(name, [_property("color", fixed)])
    if panel.open is not None and panel.pick is not None:
        made = made.data_links([_opened(panel.open, panel.pick)])
    for letter, query in zip("ABCDEFGHIJ", panel.queries, strict=False):
        made = made.with_target(_target(query, letter, panel.kind))
    return made


def _target(query: Query, letter: str, kind: Kind) -> Any:
    made = prometheus_builders.Dataquery().ref_id(letter).expr(query.expr).datasource(DATASOURCE)
    if query.legend:
        made = made.legend_format(query.legend)
    made = made.instant() if query.instant else made.range()
    match kind:
        case "table":
            return made.format(prometheus_models.PromQueryFormat.TABLE)
        case "heatmap":
            return made.format(prometheus_models.PromQueryFormat.HEATMAP)
        case _:
            return made.format(prometheus_models.PromQueryFormat.TIME_SERIES)


def _lines(panel: Panel) -> Any:
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .min(0)
        .legend(_legend(len(panel.queries)))
        .tooltip(_tooltip())
    )
    if panel.steps:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(style)
    return made


def _stack(panel: Panel) -> Any:
    stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
    return _lines(panel).fill_opacity(40).stacking(stacking)


def _bars(panel: Panel) -> Any:
    return _stack(panel).draw_style(common.GraphDrawStyle.BARS).fill_opacity(80)


def _stat(panel: Panel) -> Any:
    reduce = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    return (
        stat.Panel()
        .reduce_options(reduce)
        .color_mode(common.BigValueColorMode.VALUE if panel.steps or panel.colours else common.BigValueColorMode.NONE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.AUTO)
    )


def _heatmap(_panel: Panel) -> Any:
    colour = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    axis = heatmap.YAxisConfig().unit("s")
    return heatmap.Panel().calculate(False).color(colour).y_axis(axis)


def _states(_panel: Panel) -> Any:
    shown = dashboard.ValueMap(
        options={
            "0": dashboard.ValueMappingResult(text=" ", color="transparent", index=0),
            "1": dashboard.ValueMappingResult(text="yes", color=CALM, index=1),
        }
    )
    return statetimeline.Panel().mappings([shown]).merge_values(True).show_value(common.VisibilityMode.NEVER)


def _table(panel: Panel) -> Any:
    hidden = dict.fromkeys(panel.hidden, True)
    tidy = dashboard.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
    return table.Panel().with_transformation(tidy).show_header(True)


def _ranking(_panel: Panel) -> Any:
    reduce = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    return (
        bargauge.Panel()
        .reduce_options(reduce)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .min(0)
    )


_DRAWN: Final[Mapping[Kind, Callable[[Panel], Any]]] = {
    "stat": _stat,
    "lines": _lines,
    "stack": _stack,
    "bars": _bars,
    "heatmap": _heatmap,
    "states": _states,
    "table": _table,
    "ranking": _ranking,
}


def _legend(series: int) -> Any:
    mode = common.LegendDisplayMode.LIST if series < 8 else common.LegendDisplayMode.TABLE
    made = common_builders.VizLegendOptions().show_legend(True).display_mode(mode)
    return made.placement(common.LegendPlacement.BOTTOM)


def _tooltip() -> Any:
    options = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    return options.sort(common.SortOrder.DESCENDING)


def _thresholds(steps: Steps) -> Any:
    made = dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    return made.steps([dashboard.Threshold(value=value, color=colour) for value, colour in steps])


def _property(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _opened(board: str, label: str) -> Any:
    url = f"/d/{board}?${{__url_time_range}}&${{datasource:queryparam}}&${{job:queryparam}}&${{instance:queryparam}}"
    link = dashboard_builders.DashboardLink(f"Open the {label}")
    return link.url(f"{url}&var-{label}=${{__field.labels.{label}}}")
