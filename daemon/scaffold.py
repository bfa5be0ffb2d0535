"""What `daemonctl init` makes: a small project that works at once, with data of its own; an edge."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from registry.dataset import TableRef
from registry.errors import DeltakeepError
from registry.names import name_problem
from registry.native import AppendRequest
from registry.project import load_project
from registry.session import RuntimeProfile, build_session_runtime

DAYS = 3
ORDERS_A_DAY = 40
CUSTOMERS = ("ann", "ben", "cho", "dev", "eva")


class ProjectExists(DeltakeepError):
    """The folder holds a project already."""

    exit_code_of_class = 6


def project_files(name: str) -> Mapping[str, str]:
    """The files of the project, by path."""
    return {
        "deltakeep.toml": f"""[project]
name = "{name}"

# Delta tables that others write.  Here `daemonctl init` has written one.
[datasets.orders]
uri = "lake/orders"
poll = "2s"

[defaults]
target_lag = "1m"

[engine]
memory = "1GB"
""",
        "views/orders_clean.sql": """/*
description = "Orders that count: paid, with a positive amount."
*/
SELECT order_id, ordered_at, customer, amount
FROM orders
WHERE status = 'paid' AND amount > 0
""",
        "views/orders_by_day.sql": """/*
description = "Orders and revenue of each day."
target_lag = "10s"
*/
SELECT CAST(ordered_at AS DATE) AS day, count(*) AS orders, sum(amount) AS revenue
FROM orders_clean
GROUP BY CAST(ordered_at AS DATE)
""",
        ".gitignore": "state/\nviews_out/\nlake/\n",
    }


def make_project(folder: Path, now_ms: int) -> tuple[Path, ...]:
    """Write the files, and the sample table with commits of `now_ms`.

    Raises `ProjectExists` rather than overwrite anything.
    """
    name = folder.resolve().name.lower().replace("-", "_")
    files = project_files(name if name_problem(name) is None else "shop")
    taken = [path for path in (*files, "lake/orders") if (folder / path).exists()]
    if taken:
        raise ProjectExists(
            "already_there", f'"{folder / taken[0]}" exists already', hint="choose an empty folder; nothing was written"
        )
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    _write_orders(folder, now_ms)
    return tuple(folder / path for path in (*files, "lake/orders"))


def _write_orders(folder: Path, now_ms: int) -> None:
    project = load_project(folder)
    # Without a place to spill: a few rows need none, and nothing of ours shall lie where the service will work.
    runtime = build_session_runtime(RuntimeProfile(durable=project.engine.durable))
    table = TableRef(uri=next(dataset for dataset in project.datasets.values()).table.uri)
    for rows in sample_orders():
        runtime.append(AppendRequest(table=table, timestamp_ms=now_ms), rows)


def sample_orders() -> Iterator[pa.Table]:
    """One table of orders a day, the same on every machine."""
    zone = dt.UTC
    for day in range(DAYS):
        numbers = range(day * ORDERS_A_DAY, (day + 1) * ORDERS_A_DAY)
        start = dt.datetime(2026, 1, 1 + day, 8, tzinfo=zone)
        yield pa.table(
            {
                "order_id": pa.array(numbers, pa.int64()),
                "ordered_at": pa.array(
                    [start + dt.timedelta(minutes=number % ORDERS_A_DAY * 13) for number in numbers],
                    pa.timestamp("us", "UTC"),
                ),
                "customer": pa.array([CUSTOMERS[number * 7 % len(CUSTOMERS)] for number in numbers]),
                "status": pa.array(["cancelled" if number % 9 == 4 else "paid" for number in numbers]),
                "amount": pa.array([number * 37 % 200 + 5 for number in numbers], pa.int64()),
            }
        )
