"""A view: its lag against its target, what was done for it and why, what it read and wrote."""

from __future__ import annotations

from typing import Final

from grafana.boards import DAEMON, Board, Row, Subject
from grafana.overview import BUDGET_STEPS, increase_by
from grafana.panels import BAD, CALM, GOOD, STATE_COLOURS, WARN, Panel, Query
from grafana.records import LAG, TARGET_SECONDS_LEFT, WINDOWS, bad_share

CHOSEN: Final = f'{DAEMON},view=~"$view"'

NOW: Final = Row(
    "Now",
    (
        Panel(
            "State",
            "How many of the views chosen are in which state; the states are those of `daemonctl status`.",
            (
                Query(
                    f"sum by (state) (deltakeep_view_state{{{CHOSEN}}}) > 0",
                    "{{state}}",
                    instant=True,
                ),
            ),
            kind="stat",
            width=6,
            height=4,
            colours=tuple(STATE_COLOURS.items()),
        ),
        Panel(
            "Lag",
            "Age of the data of the oldest view chosen: all commits up to then are in it.",
            (Query(f"max({LAG}{{{CHOSEN}}})", "lag", instant=True),),
            kind="stat",
            unit="s",
            width=4,
            height=4,
        ),
        Panel(
            "Target lag",
            "What the owner asks; the strictest of the views chosen.",
            (Query(f"min(deltakeep_view_target_lag_seconds{{{CHOSEN}}})", "target", instant=True),),
            kind="stat",
            unit="s",
            width=4,
            height=4,
        ),
        Panel(
            "Pending versions",
            "Versions of the inputs that the content does not reflect yet.",
            (Query(f"max(deltakeep_view_pending_versions{{{CHOSEN}}})", "pending", instant=True),),
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Failures in a row",
            "Since the last success; `daemonctl why` shows the error.",
            (Query(f"max(deltakeep_view_consecutive_failures{{{CHOSEN}}})", "failures", instant=True),),
            kind="stat",
            width=3,
            height=4,
            steps=((None, GOOD), (1, WARN), (3, BAD)),
        ),
        Panel(
            "Last proved current",
            "When a refresh, or a proof that nothing changed, last succeeded.",
            (
                Query(
                    f"max(deltakeep_view_last_refresh_success_timestamp_seconds{{{CHOSEN}}}) * 1000",
                    "success",
                    instant=True,
                ),
            ),
            kind="stat",
            unit="dateTimeFromNow",
            width=4,
            height=4,
        ),
    ),
)

FRESHNESS: Final = Row(
    "Freshness",
    (
        Panel(
            "Lag against target",
            "Age of the data; the dashed line is what the owner asks.",
            (
                Query(f"{LAG}{{{CHOSEN}}}", "{{view}}"),
                Query(f"min(deltakeep_view_target_lag_seconds{{{CHOSEN}}})", "target"),
            ),
            unit="s",
            width=12,
            dashed=("target",),
            colours=(("target", BAD),),
        ),
        Panel(
            "Share of time out of target",
            "Over each window of the alerts; above the budget the objective is missed if it goes on.",
            tuple(Query(f"max({bad_share(window)}{{{CHOSEN}}})", window) for window in WINDOWS),
            unit="percentunit",
            width=12,
            steps=BUDGET_STEPS,
        ),
        Panel(
            "States",
            "In which state the views chosen were, in the order of importance from below.",
            (Query(f"max by (state) (deltakeep_view_state{{{CHOSEN}}})", "{{state}}"),),
            kind="states",
            width=12,
        ),
        Panel(
            "Data up to",
            "All commits of all datasets up to this moment are in the view; it moves on while datasets are quiet.",
            (Query(f"deltakeep_view_data_timestamp_seconds{{{CHOSEN}}} * 1000", "{{view}}", instant=True),),
            kind="stat",
            unit="dateTimeAsIso",
            width=6,
        ),
        Panel(
            "Observed and good time",
            "Seconds a second: paused time is not observed, and a daemon that is down observes nothing.",
            (
                Query(
                    f"sum(rate(deltakeep_view_lag_observed_seconds_total{{{CHOSEN}}}[$__rate_interval]))", "observed"
                ),
                Query(f"sum(rate(deltakeep_view_lag_good_seconds_total{{{CHOSEN}}}[$__rate_interval]))", "good"),
            ),
            width=6,
            unit="none",
            dashed=("observed",),
        ),
    ),
)

DONE: Final = Row(
    "What was done and why",
    (
        Panel(
            "Refreshes and skips",
            "By strategy and result.",
            (increase_by("deltakeep_view_refreshes_total", "strategy", "result", selector=CHOSEN),),
            kind="bars",
        ),
        Panel(
            "What made refreshes necessary",
            "By cause.",
            (increase_by("deltakeep_invalidations_total", "cause", selector=CHOSEN),),
            kind="bars",
        ),
        Panel(
            "Pending versions",
            "Versions of the inputs that the content does not reflect yet, over time.",
            (Query(f"deltakeep_view_pending_versions{{{CHOSEN}}}", "{{view}}"),),
        ),
        Panel(
            "Skips by reason",
            "Why it did not have to be refreshed.",
            (increase_by("deltakeep_view_skips_total", "reason", selector=CHOSEN),),
            kind="bars",
        ),
        Panel(
            "Recomputes by reason",
            "Why everything was read; `daemonctl explain` shows what would make it incremental.",
            (increase_by("deltakeep_view_recomputes_total", "reason", selector=CHOSEN),),
            kind="bars",
        ),
        Panel(
            "Failures and lost commits",
            "Failed refreshes by error code, and commits lost to another writer of the target.",
            (
                increase_by("deltakeep_view_failures_total", "reason", selector=CHOSEN),
                Query(f"sum(increase(deltakeep_commit_conflicts_total{{{CHOSEN}}}[$__rate_interval]))", "lost commits"),
            ),
            kind="bars",
        ),
    ),
)

COST: Final = Row(
    "Cost",
    (
        Panel(
            "Time of a refresh",
            "Mean over refreshes that ran.",
            (
                Query(
                    f"sum by (view) (rate(deltakeep_view_refresh_duration_seconds_sum{{{CHOSEN}}}[$__rate_interval])) "
                    f"/ (sum by (view) (rate(deltakeep_view_refresh_duration_seconds_count{{{CHOSEN}}}"
                    "[$__rate_interval])) > 0)",
                    "{{view}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            "Rows changed in the target",
            "Inserted and deleted.",
            (increase_by("deltakeep_view_rows_total", "change", selector=CHOSEN),),
            kind="bars",
        ),
        Panel(
            "Bytes read, written and saved",
            "Data files read and written, and what recomputes would have read instead.",
            (
                Query(f"sum(increase(deltakeep_view_read_bytes_total{{{CHOSEN}}}[$__rate_interval]))", "read"),
                Query(f"sum(increase(deltakeep_view_written_bytes_total{{{CHOSEN}}}[$__rate_interval]))", "written"),
                Query(
                    f"sum(increase(deltakeep_view_recompute_bytes_total{{{CHOSEN}}}[$__rate_interval]))", "recompute"
                ),
            ),
            unit="bytes",
            dashed=("recompute",),
        ),
        Panel(
            "Files read",
            "Data files that refreshes read; many small ones are worth compacting.",
            (Query(f"sum(increase(deltakeep_view_read_files_total{{{CHOSEN}}}[$__rate_interval]))", "files"),),
            kind="bars",
            width=12,
        ),
        Panel(
            "Paused",
            "1 while the view is paused; its datasets keep their history for it meanwhile.",
            (Query(f"deltakeep_view_paused{{{CHOSEN}}}", "{{view}}"),),
            width=12,
            unit="none",
        ),
    ),
)

RETENTION: Final = Row(
    "Retention clock of the target",
    (
        Panel(
            "Time that is left",
            "For views that other views read: until the version that the slowest reader starts from may be taken away.",
            (
                Query(f"{TARGET_SECONDS_LEFT}{{{CHOSEN}}}", "{{view}}"),
                Query(f"max(deltakeep_view_retention_seconds{{{CHOSEN}}})", "retention"),
            ),
            unit="s",
            width=12,
            dashed=("retention",),
            colours=(("retention", CALM),),
        ),
        Panel(
            "Version that readers start from",
            "The lowest version of the target that a view which reads it has taken in.",
            (Query(f"deltakeep_view_pinned_version{{{CHOSEN}}}", "{{view}}"),),
            width=12,
        ),
    ),
)

VIEW: Final = Board(
    "deltakeep-view",
    "Deltakeep: view",
    "One view, or several: lag against target, what was done and why, what it cost.",
    (NOW, FRESHNESS, DONE, COST, RETENTION),
    Subject("view", "deltakeep_view_target_lag_seconds"),
)
