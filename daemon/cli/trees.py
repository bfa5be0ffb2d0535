"""What has more shape than a table: reasons, plans, previews and lineage, from the JSON of the operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.cli.show import BOLD, DIM, GREEN, RED, YELLOW, bytes_text, count_text, counted, show_line, show_table
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
    """Plan, then each operator with how it is maintained, then what would make it incremental."""
    displays = report.get("displays") or {}
    show_line(str(displays.get("optimized") or report.get("plan") or "no plan"))
    if physical and displays.get("physical"):
        show_line("")
        show_line(str(displays["physical"]))
    show_line("")
    maintenance = report.get("maintenance") or {}
    operators = maintenance.get("operators", ())
    show_table(
        ["operator", "kept by", "why", "hint"],
        [(one.get("operator"), one.get("how"), one.get("text") or "", one.get("hint") or "") for one in operators],
    )
    for key in ("fingerprint", "content_key", "encoding"):
        if report.get(key):
            show_line(f"{key.replace('_', ' ')}: {report[key]}", DIM)
    _show_planners(report)
    state = report.get("state")
    if state:
        show_line(f"state: {state}, kept by changes; explain it too", DIM)
    if maintenance.get("incremental"):
        show_line("refreshed incrementally", GREEN)
        return EXIT_OK
    hint = f"; {maintenance['hint']}" if maintenance.get("hint") and not state else ""
    why = maintenance.get("text") or maintenance.get("reason") or "its plan is not incremental"
    whence = f" from its state {state}" if state else ""
    show_line(f"recomputed{whence}, because {why}{hint}", GREEN if state else YELLOW)
    return EXIT_OK


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
