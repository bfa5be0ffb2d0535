"""What has more shape than a table: reasons, plans, previews and lineage, from the JSON of the operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.cli.show import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    bytes_text,
    count_text,
    counted,
    duration_text,
    show_line,
    show_table,
)
from daemon.cli.tables import show_notices
from registry.errors import EXIT_NOT_FOUND, EXIT_OK

Json = Mapping[str, Any]


def show_why(report: Json) -> int:
    """The tree of facts, the headline first."""
    fact = report.get("fact") or {}
    show_line(str(fact.get("text", "nothing is known of this view yet")), BOLD)
    _show_facts(fact.get("because", ()), "")
    if report.get("source") == "history":
        show_line("from the history: this process has not decided about the view yet", DIM)
    return EXIT_OK


def _show_facts(facts: Sequence[Json], indent: str) -> None:
    for number, fact in enumerate(facts):
        last = number == len(facts) - 1
        show_line(f"{indent}{'└─ ' if last else '├─ '}{fact.get('text', '')}")
        _show_facts(fact.get("because", ()), indent + ("   " if last else "│  "))


def show_explained(report: Json, *, physical: bool) -> int:
    """Plan, then each operator with how it is maintained and what it scans, costs, states, and what would help."""
    displays = report.get("displays") or {}
    show_line(str(displays.get("optimized") or report.get("plan") or "no plan"))
    if physical and displays.get("physical"):
        show_line("")
        show_line(str(displays["physical"]))
    show_line("")
    _show_operators(report)
    for key in ("fingerprint", "content_key", "encoding"):
        if report.get(key):
            show_line(f"{key.replace('_', ' ')}: {report[key]}", DIM)
    _show_planners(report)
    _show_costs("target", report)
    for one in report.get("states", ()):
        show_line("")
        show_line(f"state {one.get('name')}, kept by changes", BOLD)
        _show_operators(one)
        _show_costs("its table", one)
    show_line("")
    state, maintenance = report.get("state"), report.get("maintenance") or {}
    if maintenance.get("incremental"):
        show_line("refreshed incrementally", GREEN)
        return EXIT_OK
    hint = f"; {maintenance['hint']}" if maintenance.get("hint") and not state else ""
    why = maintenance.get("text") or maintenance.get("reason") or "its plan is not incremental"
    whence = f" from its state {state}" if state else ""
    show_line(f"recomputed{whence}, because {why}{hint}", GREEN if state else YELLOW)
    return EXIT_OK


def _show_operators(report: Json) -> None:
    """Each operator with how it is kept; scans with the size of what they read, the others with why they fall back."""
    operators = (report.get("maintenance") or {}).get("operators", ())
    show_table(
        ["operator", "kept by", "rows", "files", "size", "why", "hint"],
        [
            (
                one.get("operator"),
                one.get("how"),
                *_scanned(one.get("scan")),
                one.get("text") or "",
                one.get("hint") or "",
            )
            for one in operators
        ],
        right=["rows", "files", "size"],
    )
    unread = {
        one["scan"]["relation"]: one["scan"]["unknown"] for one in operators if (one.get("scan") or {}).get("unknown")
    }
    for relation, why in unread.items():
        show_line(f"{relation}: {why}", DIM)


def _scanned(scan: Json | None) -> tuple[str, str, str]:
    """Rows, files and size of what a scan reads; empty for other operators."""
    if scan is None:
        return "", "", ""
    return (
        _known(count_text, scan.get("rows")),
        _known(count_text, scan.get("files")),
        _known(bytes_text, scan.get("bytes")),
    )


def _show_costs(what: str, report: Json) -> None:
    """The size of a table that we write, what a recompute of it costs, and what its refreshes did cost."""
    size, costs = report.get("size"), report.get("costs")
    if not size or not costs:
        return  # a daemon of an older version tells nothing of this
    if size.get("unknown"):
        show_line(f"{what}: size unknown, {size['unknown']}")
    else:
        rows = "an unknown number of rows" if size.get("rows") is None else counted(size["rows"], "row")
        files = f"{bytes_text(size.get('bytes'))} in {counted(size.get('files') or 0, 'file')}"
        show_line(f"{what}: version {size.get('version')}, {rows}, {files}")
    show_line(_recompute_text(costs.get("recompute") or {}))
    show_line(_history_text(costs.get("history")))


def _recompute_text(cost: Json) -> str:
    writes = cost.get("writes_bytes")
    written = "writes an unknown amount" if writes is None else f"writes about {bytes_text(writes)}"
    if cost.get("reads_bytes") is None:
        return f"a recompute reads an unknown amount and {written}: {cost.get('unknown')}"
    skipped = f" (filters rule out {counted(cost['skips_files'], 'file')})" if cost.get("skips_files") else ""
    files = counted(cost.get("reads_files") or 0, "file")
    return f"a recompute reads {bytes_text(cost['reads_bytes'])} in {files}{skipped} and {written}"


def _history_text(history: Json | None) -> str:
    if history is None:
        return "what its refreshes took is unknown: the history cannot be read"
    ways = [_way_text(name, history[name]) for name in ("incremental", "recompute") if history[name]["refreshes"]]
    if not ways:
        return "what its refreshes take is unknown: none is recorded"
    return f"of its last {counted(history['records'], 'record')}: {'; '.join(ways)}"


def _way_text(name: str, way: Json) -> str:
    rows, read, took = way["median_rows"], way["median_bytes_read"], way["median_ms"]
    return (
        f"{way['refreshes']} {name}, median {counted(rows, 'row')} changed, "
        f"{_known(bytes_text, read)} read, {duration_text(took)}"
    )


def _known(text: Callable[[int | None], str], figure: int | None) -> str:
    return "unknown" if figure is None else text(figure)


def _show_planners(report: Json) -> None:
    """The macros in the plan, and the planning rules that functions of the view switched on."""
    if report.get("macros"):
        show_line(f"functions of the project: {', '.join(sorted(report['macros']))}", DIM)
    for one in report.get("domain_planners", ()):
        if one.get("called"):
            show_line(f"domain planner {one['planner']}: switched on by {', '.join(one['called'])}", DIM)


def show_preview(report: Json) -> int:
    """Affected views with path, strategy and cost, then the others with their reasons."""
    views = report.get("views", [])
    affected = [view for view in views if view.get("affected")]
    if affected:
        show_table(
            ["view", "strategy", "why", "path", "rows", "read", "skipped files", "rewrites at most", "recompute reads"],
            [
                (
                    _marked(view),
                    view.get("strategy"),
                    view.get("message") or view.get("reason"),
                    " → ".join(view.get("path", ())),
                    _rows(view),
                    bytes_text(view.get("bytes_to_read")),
                    view.get("files_skipped"),
                    bytes_text(view.get("bytes_to_write_bound")),
                    bytes_text(view.get("recompute_bytes")),
                )
                for view in affected
            ],
            right=["rows", "read", "skipped files", "rewrites at most", "recompute reads"],
        )
    for view in affected:
        for column in view.get("columns", ()):
            before, after = column.get("before") or "new", column.get("after") or "gone"
            show_line(f"  {view.get('view')}.{column.get('column')}: {before} → {after}", DIM)
        if view.get("hint"):
            show_line(f"  {view.get('view')}: {view['hint']}", DIM)
    others = [view for view in views if not view.get("affected")]
    if others:
        show_line("")
        show_table(
            ["not affected", "reason", "why"],
            [(view.get("view"), view.get("reason"), view.get("message")) for view in others],
        )
    show_notices(report)
    for name in report.get("orphaned", ()):
        show_line(f"{name}: its target would be left behind", YELLOW)
    if not affected:
        show_line(f"nothing to do, {counted(len(others), 'view')} not affected; nothing was written", GREEN)
        return EXIT_OK
    read, whole = report.get("bytes_to_read"), report.get("recompute_bytes")
    show_line(
        f"{counted(len(affected), 'view')} would be refreshed, {len(others)} not; at most {bytes_text(read)} to read "
        f"(recomputing: {bytes_text(whole)}); nothing was written"
    )
    return EXIT_OK


def _marked(view: Json) -> str:
    """The view's name; a mark says that an input would change before, so that the cost is not known yet."""
    return str(view.get("view")) + ("" if view.get("certain", True) else " (estimate)")


def _rows(view: Json) -> str:
    if view.get("rows_inserted") is not None:
        return f"+{count_text(view['rows_inserted'])} −{count_text(view.get('rows_deleted'))}"
    bound = view.get("change_rows_bound")
    return "–" if bound is None else f"≤ {count_text(bound)}"


def show_lineage(report: Json, column: str | None) -> int:
    """Columns of a view with what they come from, or the graph of relations."""
    if report.get("view") is None:
        return _show_graph(report)
    outputs = report.get("outputs", ())
    chosen = [one for one in outputs if column is None or one.get("name") == column]
    if column is not None and not chosen:
        known = ", ".join(str(one.get("name")) for one in outputs)
        show_line(f'view "{report["view"]}" has no column "{column}"; known: {known}', RED)
        return EXIT_NOT_FOUND
    show_table(
        ["column", "how", "from"],
        [
            (one.get("name"), source.get("how"), f"{source.get('relation')}.{source.get('column')}")
            for one in chosen
            for source in one.get("sources", ())
        ]
        + [(one.get("name"), "constant", "") for one in chosen if not one.get("sources")],
    )
    if column is None:
        show_line("")
        _show_edges(report)
    return EXIT_OK


def _show_graph(report: Json) -> int:
    _show_edges(report)
    edges = report.get("edges", ())
    datasets = {edge.get("relation") for edge in edges if edge.get("kind") == "dataset"}
    show_line(f"{counted(len(report.get('order', ())), 'view')} over {counted(len(datasets), 'dataset')}")
    return EXIT_OK


def _show_edges(report: Json) -> None:
    show_table(
        ["view", "reads", "kind", "columns"],
        [
            (edge.get("view"), edge.get("relation"), edge.get("kind"), edge.get("columns"))
            for edge in report.get("edges", ())
        ],
    )
