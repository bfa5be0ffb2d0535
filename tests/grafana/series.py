"""The series that rules and dashboards may name: the catalogue's, the client's, Prometheus' own, and the records."""

from __future__ import annotations

import re
from functools import cache

from daemon.metrics_catalogue import known_series
from grafana.records import RECORDS

CLIENT = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "python_gc_collections_total",
    }
)
"""What the Prometheus client adds; a test compares it with what a daemon really serves."""

_NAME = re.compile(r"\b(?:deltakeep_|process_|python_|instance(?:_\w+)?:)[a-z_:0-9]*")


@cache
def shown_series() -> frozenset[str]:
    """Everything that an expression may name."""
    return known_series() | CLIENT | {"up"} | {record.name for record in RECORDS}


def names_in(expr: str) -> set[str]:
    """The series that an expression names."""
    found = set(_NAME.findall(expr))
    return found | ({"up"} if re.search(r"\bup\b", expr) else set())
