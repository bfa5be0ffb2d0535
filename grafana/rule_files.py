"""Rule files for Prometheus, as YAML that a person can read; pure.

Strings are written as JSON, which YAML takes as it is; expressions as literal blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from daemon.cli.export import RUNBOOKS
from grafana.alerts import ALERTS, Alert
from grafana.records import RECORDS, Record

HEADER = "# Made by `make docs` from grafana/*.py; edit those.\n"


def records_file() -> str:
    """The recording rules."""
    return HEADER + "\n".join(_group("deltakeep.records", (_record(one) for one in RECORDS))) + "\n"


def alerts_file() -> str:
    """The alert rules."""
    return HEADER + "\n".join(_group("deltakeep.alerts", (_alert(one) for one in ALERTS))) + "\n"


def _group(name: str, rules: Iterable[Iterable[str]]) -> Iterator[str]:
    yield "groups:"
    yield f"  - name: {name}"
    yield "    rules:"
    for rule in rules:
        for number, line in enumerate(rule):
            yield ("      - " if number == 0 else "        ") + line


def _record(record: Record) -> Iterator[str]:
    yield f"record: {record.name}"
    yield from _expression(record.expr)


def _alert(alert: Alert) -> Iterator[str]:
    yield f"alert: {alert.name}"
    yield from _expression(alert.expr)
    if alert.hold != "0m":
        yield f"for: {alert.hold}"
    yield "labels:"
    for name, value in {"severity": alert.severity, **alert.labels}.items():
        yield f"  {name}: {value}"
    yield "annotations:"
    yield f"  summary: {json.dumps(alert.summary)}"
    yield f"  description: {json.dumps(alert.description)}"
    yield f"  runbook_url: {RUNBOOKS}/{alert.page}.md"


def _expression(expr: str) -> Iterator[str]:
    lines = expr.splitlines()
    if len(lines) == 1:
        yield f"expr: {json.dumps(expr) if ': ' in expr or '#' in expr else expr}"
        return
    # The indicator says where the block begins, since its first line may be indented further.
    yield "expr: |2"
    yield from (f"  {line}" for line in lines)
