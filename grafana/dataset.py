"""A dataset: its versions, the looks at it, and until when it keeps what views still need."""

from __future__ import annotations

from typing import Final

from grafana.boards import DAEMON, Board, Row, Subject
from grafana.overview import increase_by, quantiles, rate_by
from grafana.panels import BAD, CALM, GOOD, WARN, Panel, Query
from grafana.records import SECONDS_LEFT

CHOSEN: Final = f'{DAEMON},dataset=~"$dataset"'
DAY_S: Final = 86_400

NOW: Final = Row(
    "Now",
    (
        Panel(
            "Datasets",
            "Datasets of the projects chosen.",
            (Query(f"sum(deltakeep_datasets{{{DAEMON}}})", "datasets", instant=True),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Newest version",
            "As seen by the last look; the highest of the datasets chosen.",
            (Query(f"max(deltakeep_dataset_version{{{CHOSEN}}})", "version", instant=True),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Last commit",
            "When the newest version was committed by whoever writes the dataset.",
            (
                Query(
                    f"max(deltakeep_dataset_commit_timestamp_seconds{{{CHOSEN}}}) * 1000",
                    "commit",
                    instant=True,
                ),
            ),
            kind="stat",
            unit="dateTimeFromNow",
            width=5,
            height=4,
        ),
        Panel(
            "Last look that succeeded",
            "The oldest of the datasets chosen; polls, not counting file-system events.",
            (
                Query(
                    f"min(deltakeep_dataset_last_poll_success_timestamp_seconds{{{CHOSEN}}}) * 1000",
                    "look",
                    instant=True,
                ),
            ),
            kind="stat",
            unit="dateTimeFromNow",
            width=5,
            height=4,
        ),
        Panel(
            "A vacuum does no harm until",
            "The earliest moment from which a vacuum, or a clean-up of the log, may force a view to be recomputed.",
            (
                Query(
                    f"min(deltakeep_dataset_pinned_until_timestamp_seconds{{{CHOSEN}}}) * 1000",
                    "until",
                    instant=True,
                ),
            ),
            kind="stat",
            unit="dateTimeAsIso",
            width=6,
            height=4,
        ),
    ),
)

RETENTION: Final = Row(
    "Retention clock",
    (
        Panel(
            "Versions that are kept and needed",
            "Oldest version in the log, lowest version that a view starts from, newest. The middle line must stay "
            "above the lowest.",
            (
                Query(f"deltakeep_dataset_oldest_version{{{CHOSEN}}}", "{{dataset}} oldest"),
                Query(f"deltakeep_dataset_pinned_version{{{CHOSEN}}}", "{{dataset}} pinned"),
                Query(f"deltakeep_dataset_version{{{CHOSEN}}}", "{{dataset}} newest"),
            ),
            width=12,
        ),
        Panel(
            "Time that is left",
            "Until the pinned version may be taken away; at the dashed line everything is up to date.",
            (
                Query(f"{SECONDS_LEFT}{{{CHOSEN}}}", "{{dataset}}"),
                Query(f"max(deltakeep_dataset_retention_seconds{{{CHOSEN}}})", "retention"),
            ),
            unit="s",
            width=6,
            dashed=("retention",),
            colours=(("retention", CALM),),
        ),
        Panel(
            "Least time left",
            "Datasets that are closest to losing a version that a view needs.",
            (Query(f"bottomk(10, {SECONDS_LEFT}{{{CHOSEN}}})", "{{dataset}}", instant=True),),
            kind="ranking",
            unit="s",
            width=6,
            steps=((None, BAD), (DAY_S, WARN), (2 * DAY_S, GOOD)),
        ),
    ),
)

LOOKS: Final = Row(
    "Looks",
    (
        Panel(
            "Looks by result",
            "New found a version, same did not, error could not read.",
            (rate_by("deltakeep_dataset_polls_total", "result", selector=CHOSEN),),
            unit="ops",
            kind="stack",
            colours=(("error", BAD), ("new", CALM), ("same", GOOD)),
        ),
        Panel(
            "Looks that failed",
            "By dataset; `daemonctl doctor` shows the error of the store.",
            (increase_by("deltakeep_dataset_polls_total", "dataset", selector=f'{CHOSEN},result="error"'),),
            kind="bars",
        ),
        Panel(
            "Time of a look",
            "One look asks for the next entry of one log; all datasets.",
            quantiles("deltakeep_dataset_poll_duration_seconds"),
            unit="s",
        ),
        Panel(
            "File-system events",
            "After filtering: entries of logs and files of definitions; only for local tables.",
            (increase_by("deltakeep_watch_events_total", "kind"),),
            kind="bars",
        ),
        Panel(
            "Versions made",
            "How far the newest version moved within a step.",
            (Query(f"delta(deltakeep_dataset_version{{{CHOSEN}}}[$__rate_interval]) >= 0", "{{dataset}}"),),
            kind="bars",
        ),
        Panel(
            "Views that have not taken them in",
            "Versions of their inputs that views do not reflect yet; a click opens the view.",
            (Query(f"topk(10, deltakeep_view_pending_versions{{{DAEMON}}})", "{{view}}", instant=True),),
            kind="ranking",
            steps=((None, GOOD), (10, WARN)),
            open="deltakeep-view",
            pick="view",
        ),
    ),
)

DATASET: Final = Board(
    "deltakeep-dataset",
    "Deltakeep: dataset",
    "The Delta tables that others write: versions, looks, and until when they keep what views still need.",
    (NOW, RETENTION, LOOKS),
    Subject("dataset", "deltakeep_dataset_polls_total"),
)
