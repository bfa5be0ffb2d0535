"""Recording rules: what alerts and dashboards compute more than once.

Named `level:metric:operation`: the level says which labels are left.
A daemon is told by `job` and `instance`, so that several projects may be scraped under one job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")
"""The windows over which burn rates are taken."""

LAG: Final = "instance_view:deltakeep_view_lag_seconds:max"
SECONDS_LEFT: Final = "instance_dataset:deltakeep_dataset_pinned_left_seconds:min"
TARGET_SECONDS_LEFT: Final = "instance_view:deltakeep_view_pinned_left_seconds:min"
SAVED: Final = "instance:deltakeep_saved_bytes:ratio_rate1h"


def growth(series: str, window: str, by: str) -> str:
    """How much counters grew within a window, summed by labels, also those that were born in it.

    Most series of a view begin with the event that they count, and `increase` sees no event in a first sample.
    That a series is new is believed only of a daemon that was scraped at the window's start.
    """
    return f"""\
sum by ({by}) (
      {series}
    unless
      {series} offset {window}
    and on (job, instance)
      up offset {window}
  or
    increase({series}[{window}])
)"""


@dataclass(frozen=True, slots=True)
class Record:
    """One recording rule."""

    name: str
    expr: str


def bad_share(window: str) -> str:
    """The record of the share of observed time in which a view was older than its target lag."""
    return f"instance_view:deltakeep_view_lag_bad:ratio_rate{window}"


def _bad_share(window: str) -> Record:
    # Without the comparison a view that was not observed would be 0 / 0, and with it every average over views.
    return Record(
        bad_share(window),
        f"""\
1
-
  sum by (job, instance, view) (rate(deltakeep_view_lag_good_seconds_total[{window}]))
/
  (sum by (job, instance, view) (rate(deltakeep_view_lag_observed_seconds_total[{window}])) > 0)""",
    )


RECORDS: Final[tuple[Record, ...]] = (
    Record(LAG, "time() - max by (job, instance, view) (deltakeep_view_data_timestamp_seconds)"),
    *(_bad_share(window) for window in WINDOWS),
    Record(
        SECONDS_LEFT,
        "min by (job, instance, dataset) (deltakeep_dataset_pinned_until_timestamp_seconds) - time()",
    ),
    Record(
        TARGET_SECONDS_LEFT,
        "min by (job, instance, view) (deltakeep_view_pinned_until_timestamp_seconds) - time()",
    ),
    Record(
        SAVED,
        """\
1
-
  sum by (job, instance) (rate(deltakeep_view_read_bytes_total[1h]))
/
  (sum by (job, instance) (rate(deltakeep_view_recompute_bytes_total[1h])) > 0)""",
    ),
)
