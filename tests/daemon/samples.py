"""Answers of operations as the keeper gives them, for what the command line shows."""

from __future__ import annotations

from typing import Any

CYCLE: dict[str, Any] = {
    "cycle_id": "c1",
    "cause": "request",
    "started_ms": 1_700_000_000_000,
    "elapsed_ms": 412,
    "counts": {"committed": 2, "skipped": 1},
    "views": [
        {
            "view": "orders_clean",
            "strategy": "incremental",
            "reason": "incremental",
            "message": "1 of 3 files changed",
            "outcome": "committed",
            "version": 4,
            "rows_inserted": 1_200,
            "rows_deleted": 20,
            "bytes_read": 40_000,
            "bytes_recompute": 1_300_000,
            "elapsed_ms": 95,
            "error": None,
        },
        {
            "view": "orders_by_day",
            "strategy": "recompute",
            "reason": "first_build",
            "message": "the target does not exist yet",
            "outcome": "committed",
            "version": 0,
            "rows_inserted": 365,
            "rows_deleted": 0,
            "bytes_read": 1_300_000,
            "bytes_recompute": 1_300_000,
            "elapsed_ms": 310,
            "error": None,
        },
        {
            "view": "customers_fr",
            "strategy": "skip",
            "reason": "filtered_out",
            "message": "no changed file can meet the filters",
            "outcome": "skipped",
            "version": 2,
            "rows_inserted": None,
            "rows_deleted": None,
            "bytes_read": None,
            "bytes_recompute": 9_000,
            "elapsed_ms": 1,
            "error": None,
        },
    ],
    "tasks": {},
    "notices": [],
}

FAILED_CYCLE: dict[str, Any] = {
    **CYCLE,
    "views": [
        CYCLE["views"][0],
        {
            **CYCLE["views"][1],
            "outcome": "failed",
            "reason": "refresh_failed",
            "message": "disk full",
            "error": "store_error: no space left on device",
            "bytes_read": None,
        },
    ],
}

STATUS: dict[str, Any] = {
    "project": "shop",
    "now_ms": 1_700_000_000_000,
    "datasets": [
        {
            "name": "orders",
            "uri": "file:///lake/orders",
            "version": 7,
            "rows": 120_000,
            "bytes": 1_300_000,
            "error": None,
        }
    ],
    "views": [
        {
            "name": "orders_by_day",
            "state": "fresh",
            "message": "no new versions",
            "strategy": "skip",
            "version": 3,
            "rows": 365,
            "bytes": 12_000,
            "lag_ms": 4_200,
            "target_lag_ms": 60_000,
            "paused": None,
        },
        {
            "name": "top_customers",
            "state": "paused",
            "message": "paused",
            "strategy": "skip",
            "version": 1,
            "rows": 10,
            "bytes": 900,
            "lag_ms": 7_500_000,
            "target_lag_ms": 3_600_000,
            "paused": "maintenance until noon",
        },
    ],
    "notices": [{"reason": "orphaned", "subject": "old_view", "message": "its target is left as it is"}],
}

WHY: dict[str, Any] = {
    "view": "orders_by_day",
    "source": "memory",
    "fact": {
        "text": 'View "orders_by_day": refreshed incrementally, because it is cheaper (incremental).',
        "code": "incremental",
        "values": {},
        "because": [
            {"text": "Version 4 was committed: 41 rows in, 41 out.", "because": []},
            {
                "text": "The target is at version 4; our last commit is 4 and reflects:",
                "because": [{"text": '"orders" at version 7.', "because": []}],
            },
        ],
    },
    "lines": [],
}

PREVIEW: dict[str, Any] = {
    "kind": "pending",
    "affected": 1,
    "unaffected": 1,
    "bytes_to_read": 40_000,
    "bytes_to_write_bound": 9_000,
    "recompute_bytes": 1_300_000,
    "views": [
        {
            "view": "orders_by_day",
            "affected": True,
            "certain": True,
            "strategy": "incremental",
            "reason": "incremental",
            "message": "1 of 3 files changed",
            "hint": "",
            "path": ["orders", "orders_clean", "orders_by_day"],
            "columns": [],
            "rows_inserted": None,
            "change_rows_bound": 1_220,
            "files_skipped": 2,
            "bytes_to_read": 40_000,
            "bytes_to_write_bound": 9_000,
            "recompute_bytes": 1_300_000,
        },
        {
            "view": "top_customers",
            "affected": False,
            "certain": True,
            "reason": "unused_columns",
            "message": "the changed columns are not used",
            "path": ["top_customers"],
        },
    ],
    "orphaned": [],
    "notices": [],
}

VERIFIED: dict[str, Any] = {
    "equal": True,
    "views": [
        {
            "view": "orders_by_day",
            "checked": True,
            "equal": True,
            "version": 4,
            "pins": {"orders": 7},
            "message": "",
            "rows": 365,
            "missing": 0,
            "unexpected": 0,
            "samples": [],
            "approximate_columns": ["revenue"],
        }
    ],
}
DIFFERENT: dict[str, Any] = {
    "equal": False,
    "views": [{**VERIFIED["views"][0], "equal": False, "missing": 1, "samples": ["missing 1: {day: 2026-01-01}"]}],
}
