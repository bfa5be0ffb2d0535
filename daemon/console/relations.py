"""Views and datasets as the console lists them: one row each, filtered, sorted and cut into pages.

Pure: from the topology and the answer of `status`, with what the daemon knows at this moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.port import JsonValue
from daemon.topology import Topology
from daemon.view_state import BAD_STATES, STATE_ORDER, lag_of, state_of

Json = Mapping[str, Any]
PAGE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: part of a name, kind, state, who reads or feeds a relation; and which page of them."""

    text: str = ""
    kind: str = ""
    state: str = ""
    reads: str = ""
    feeds: str = ""
    sort: str = "name"
    offset: int = 0
    limit: int = 50


def rows(topology: Topology, status: Json, live: Json) -> list[dict[str, JsonValue]]:
    """One row for each dataset and view, in the order of their names."""
    live_views: Json = live.get("views", {})
    seen_views = {str(one.get("name")): one for one in status.get("views", ())}
    seen_datasets = {str(one.get("name")): one for one in status.get("datasets", ())}
    readers = direct_readers(topology)
    found: list[dict[str, JsonValue]] = []
    for name, view in topology.views.items():
        seen, now = seen_views.get(name, {}), live_views.get(name, {})
        state = state_of(seen, now) if seen.get("state") else str(now.get("state", "due"))
        found.append(
            {
                "name": name,
                "kind": "view",
                "state": state,
                "lag_ms": lag_of(seen, now),
                "target_lag_ms": view.target_lag_ms,
                "failures": now.get("failures", 0),
                "inputs": list(view.inputs),
                "readers": len(readers.get(name, ())),
                **{key: seen.get(key) for key in ("version", "rows", "bytes", "strategy", "incremental", "paused")},
                "message": seen.get("message") or "",
            }
        )
    for name in topology.datasets:
        seen = seen_datasets.get(name, {})
        found.append(
            {
                "name": name,
                "kind": "dataset",
                "state": "unreadable" if seen.get("error") else "readable",
                "lag_ms": None,
                "inputs": [],
                "readers": len(readers.get(name, ())),
                **{key: seen.get(key) for key in ("version", "rows", "bytes", "timestamp_ms", "uri")},
                "message": seen.get("error") or "",
            }
        )
    return sorted(found, key=lambda row: str(row["name"]))


def page(found: Sequence[Json], topology: Topology, wanted: Wanted) -> dict[str, JsonValue]:
    """The rows that are wanted, how many there are, and how many of each state."""
    text = wanted.text.lower()
    readers = direct_readers(topology)
    inputs = topology.views[wanted.feeds].inputs if wanted.feeds in topology.views else ()
    matching = [
        row
        for row in found
        if text in row["name"].lower()
        and (not wanted.kind or row["kind"] == wanted.kind)
        and (not wanted.reads or row["name"] in readers.get(wanted.reads, ()))
        and (not wanted.feeds or row["name"] in inputs)
    ]
    states = Counter(row["state"] for row in matching)
    if wanted.state:
        matching = [row for row in matching if row["state"] == wanted.state]
    match wanted.sort:
        case "state":
            matching.sort(key=lambda row: (_rank(row["state"]), row["name"]))
        case "lag":
            matching.sort(key=lambda row: (-(row["lag_ms"] or -1), row["name"]))
        case _:
            pass
    limit = max(1, min(wanted.limit, PAGE_MAX))
    return {
        "rows": matching[wanted.offset : wanted.offset + limit],
        "total": len(matching),
        "offset": wanted.offset,
        "limit": limit,
        "states": {state: states[state] for state in sorted(states, key=_rank)},
    }


def overview(found: Sequence[Json]) -> dict[str, JsonValue]:
    """How many views are in each state, and the rows that need a person or wait for something."""
    states = Counter(row["state"] for row in found if row["kind"] == "view")
    wrong = [row for row in found if row["state"] in BAD_STATES or row["state"] in {"unreadable", "paused", "waiting"}]
    wrong.sort(key=lambda row: (_rank(row["state"]), row["name"]))
    return {
        "views": sum(states.values()),
        "datasets": sum(1 for row in found if row["kind"] == "dataset"),
        "states": {state: states[state] for state in sorted(states, key=_rank)},
        "attention": wrong[:PAGE_MAX],
        "attention_total": len(wrong),
    }


def direct_readers(topology: Topology) -> Mapping[str, Sequence[str]]:
    """The views that read each relation directly."""
    readers: dict[str, list[str]] = {}
    for name, view in topology.views.items():
        for relation in view.inputs:
            readers.setdefault(relation, []).append(name)
    return readers


def _rank(state: str) -> int:
    return STATE_ORDER.index(state) if state in STATE_ORDER else len(STATE_ORDER)
