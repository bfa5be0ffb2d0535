"""The overview: is every view as fresh as it should be, and what does keeping it so cost."""

from __future__ import annotations

from typing import Final

from daemon.view_state import SERVICE_STATES
from grafana.alerts import BUDGET
from grafana.boards import DAEMON, Board, Row
from grafana.panels import BAD, GOOD, STATE_COLOURS, WARN, Panel, Query
from grafana.records import LAG, SAVED, bad_share, growth

BUDGET_STEPS: Final = ((None, GOOD), (BUDGET, WARN), (6 * BUDGET, BAD))
QUANTILES: Final = (0.5, 0.95, 0.99)


def quantiles(histogram: str, *by: str) -> tuple[Query, ...]:
    """The usual quantiles of a histogram of seconds, apart by further labels."""
    labels = ", ".join(("le", *by))
    legend = "".join(f"{{{{{label}}}}} " for label in by)
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{{{DAEMON}}}[$__rate_interval])))",
            f"{legend}p{share * 100:g}",
        )
        for share in QUANTILES
    )


def rate_by(counter: str, *labels: str, selector: str = DAEMON) -> Query:
    """A counter's rate, apart by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return Query(f"sum by ({', '.join(labels)}) (rate({counter}{{{selector}}}[$__rate_interval]))", legend)


def increase_by(counter: str, *labels: str, selector: str = DAEMON) -> Query:
    """How much a counter grew within a step of the graph, apart by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return Query(growth(f"{counter}{{{selector}}}", "$__rate_interval", ", ".join(labels)), legend)


NOW: Final = Row(
    "Now",
    (
        Panel(
            "Views by state",
            "Each view is in one state; late and failed ones need somebody.",
            (Query(f"sum by (state) (deltakeep_views{{{DAEMON}}})", "{{state}}", instant=True),),
            kind="stat",
            width=10,
            height=4,
            colours=tuple(STATE_COLOURS.items()),
        ),
        Panel(
            "Daemons that answer",
            "Daemons whose last scrape succeeded; one that is missing keeps no view.",
            (Query(f"sum(up{{{DAEMON}}})", "up", instant=True),),
            kind="stat",
            width=3,
            height=4,
            steps=((None, BAD), (1, GOOD)),
        ),
        Panel(
            "Ready",
            "Daemons that have looked at every view since their start.",
            (Query(f"sum(deltakeep_ready{{{DAEMON}}})", "ready", instant=True),),
            kind="stat",
            width=3,
            height=4,
            steps=((None, BAD), (1, GOOD)),
        ),
        Panel(
            "Time within target lag",
            "Share of observed view time of the last six hours in which views were as fresh as their owners ask.",
            (Query(f"1 - avg({bad_share('6h')}{{{DAEMON}}})", "6h", instant=True),),
            kind="stat",
            unit="percentunit",
            decimals=2,
            width=4,
            height=4,
            steps=((None, BAD), (1 - 6 * BUDGET, WARN), (1 - BUDGET, GOOD)),
        ),
        Panel(
            "Saved against recomputing",
            "Share of bytes that were not read because refreshes took in changes only, in the last hour.",
            (Query(f"avg({SAVED}{{{DAEMON}}})", "1h", instant=True),),
            kind="stat",
            unit="percentunit",
            decimals=1,
            width=4,
            height=4,
        ),
    ),
)

FRESHNESS: Final = Row(
    "Freshness",
    (
        Panel(
            "Views that spend most of their budget",
            "Share of the last six hours in which a view was older than its target lag; a click opens the view.",
            (Query(f"topk(20, {bad_share('6h')}{{{DAEMON}}})", "{{view}}", instant=True),),
            kind="ranking",
            unit="percentunit",
            steps=BUDGET_STEPS,
            open="deltakeep-view",
            pick="view",
        ),
        Panel(
            "Lag in units of the target lag",
            "The ten views that are oldest against what their owners ask; above 1 a view is late.",
            (
                Query(
                    f"topk(10, {LAG}{{{DAEMON}}} / on (job, instance, view) deltakeep_view_target_lag_seconds"
                    f"{{{DAEMON}}})",
                    "{{view}}",
                ),
            ),
            unit="none",
            decimals=2,
            steps=((None, GOOD), (1, BAD)),
            open="deltakeep-view",
            pick="view",
        ),
        Panel(
            "Views by state",
            "How many views were in each state.",
            (Query(f"sum by (state) (deltakeep_views{{{DAEMON}}})", "{{state}}"),),
            kind="stack",
            colours=tuple((state, STATE_COLOURS[state]) for state in SERVICE_STATES),
        ),
        Panel(
            "From notice to commit",
            "Time from the first notice of a change to the commit of a view that holds it.",
            quantiles("deltakeep_freshness_latency_seconds"),
            unit="s",
            width=12,
        ),
        Panel(
            "From notice to commit, spread",
            "The same as a heat map: a second band is a second kind of view, or of day.",
            (
                Query(
                    f"sum by (le) (increase(deltakeep_freshness_latency_seconds_bucket{{{DAEMON}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            kind="heatmap",
            width=12,
        ),
    ),
)

REFRESHES: Final = Row(
    "Refreshes and why",
    (
        Panel(
            "Refreshes and skips",
            "Views looked at, by strategy and result; a skip is a proof that nothing changed.",
            (increase_by("deltakeep_view_refreshes_total", "strategy", "result"),),
            kind="bars",
        ),
        Panel(
            "What made refreshes necessary",
            "Commits of datasets and of views are daily life; definition, history and target are worth a look.",
            (increase_by("deltakeep_invalidations_total", "cause"),),
            kind="bars",
        ),
        Panel(
            "Skips by reason",
            "Why views did not have to be refreshed although somebody noticed something.",
            (increase_by("deltakeep_view_skips_total", "reason"),),
            kind="bars",
        ),
        Panel(
            "Recomputes by reason",
            "Reading everything is right and dear; each reason has an entry in the reasons page.",
            (increase_by("deltakeep_view_recomputes_total", "reason"),),
            kind="bars",
        ),
        Panel(
            "Failures by reason",
            "Failed refreshes by error code; a failed view keeps its last good content.",
            (increase_by("deltakeep_view_failures_total", "reason"),),
            kind="bars",
        ),
        Panel(
            "Views that fail",
            "Failures in a row, by view; a click opens the view.",
            (Query(f"topk(20, deltakeep_view_consecutive_failures{{{DAEMON}}})", "{{view}}", instant=True),),
            kind="ranking",
            steps=((None, GOOD), (1, WARN), (3, BAD)),
            open="deltakeep-view",
            pick="view",
        ),
    ),
)

COST: Final = Row(
    "Cost",
    (
        Panel(
            "Read, and what recomputing would have read",
            "The gap between the two is what incremental refreshes save.",
            (
                Query(f"sum(rate(deltakeep_view_read_bytes_total{{{DAEMON}}}[$__rate_interval]))", "read"),
                Query(f"sum(rate(deltakeep_view_recompute_bytes_total{{{DAEMON}}}[$__rate_interval]))", "recompute"),
            ),
            unit="Bps",
            dashed=("recompute",),
        ),
        Panel(
            "Dearest views",
            "Share of the engine's time that a view's refreshes took; a click opens the view.",
            (
                Query(
                    "topk(10, sum by (job, instance, view) (rate(deltakeep_view_refresh_duration_seconds_sum"
                    f"{{{DAEMON}}}[1h])))",
                    "{{view}}",
                    instant=True,
                ),
            ),
            kind="ranking",
            unit="percentunit",
            steps=((None, GOOD), (0.25, WARN), (0.5, BAD)),
            open="deltakeep-view",
            pick="view",
        ),
        Panel(
            "Work that waits",
            "Views that are due, and calls in front of the engine's thread.",
            (Query(f"sum by (queue) (deltakeep_queue_length{{{DAEMON}}})", "{{queue}}"),),
        ),
    ),
)

ALERTS_AND_BUILD: Final = Row(
    "Alerts and daemons",
    (
        Panel(
            "Alerts",
            "Alerts of the rules that come with these dashboards, pending and firing.",
            (Query(f'ALERTS{{alertname=~"Deltakeep.+",{DAEMON}}}', instant=True),),
            kind="table",
            width=14,
            hidden=("Time", "__name__", "Value", "job", "slo"),
            empty="no alert",
        ),
        Panel(
            "Daemons",
            "What runs where.",
            (Query(f"deltakeep_build_info{{{DAEMON}}}", instant=True),),
            kind="table",
            width=10,
            hidden=("Time", "__name__", "Value"),
        ),
    ),
)

OVERVIEW: Final = Board(
    "deltakeep-overview",
    "Deltakeep: overview",
    "Is every view as fresh as it should be, what was done for it and why, and what did it cost?",
    (NOW, FRESHNESS, REFRESHES, COST, ALERTS_AND_BUILD),
)
