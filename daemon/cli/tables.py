"""Tables for people, from the JSON of the operations.

Keys that are missing show as a dash: a daemon of another version must not break the client.
Each function that shows something gives the exit code that belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.cli.show import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    bytes_text,
    count_text,
    counted,
    duration_text,
    share_text,
    show_line,
    show_table,
)
from daemon.view_state import BAD_STATES, lag_of, state_of
from registry.errors import EXIT_CHECK_FAILED, EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK

Json = Mapping[str, Any]
FAILED_OUTCOMES = frozenset({"failed", "refused"})
QUIET_OUTCOMES = frozenset({"skipped", "unchanged", "waiting"})
SAMPLES_MAX = 5


def cycle_exit_code(report: Json) -> int:
    """Whether a view of the cycle failed or was refused; 78 where all of those are kept by a newer version."""
    reasons = {view.get("reason") for view in report.get("views", ()) if view.get("outcome") in FAILED_OUTCOMES}
    if not reasons:
        return EXIT_OK
    return EXIT_CONFIGURATION if reasons == {"newer_format"} else EXIT_FAILED


def show_cycle(report: Json) -> int:
    """What a cycle did with each view: strategy, why, rows, what was read and what that saved."""
    views = report.get("views", [])
    show_table(
        ["view", "strategy", "outcome", "why", "inserted", "deleted", "read", "recompute", "saved", "time"],
        [_cycle_row(view) for view in views],
        right=["inserted", "deleted", "read", "recompute", "saved", "time"],
    )
    show_notices(report)
    for view in views:
        if view.get("error"):
            show_line(f"{view.get('view')}: {view['error']}", RED)
    failed = [str(view.get("view")) for view in views if view.get("outcome") in FAILED_OUTCOMES]
    read = sum(view.get("bytes_read") or 0 for view in views)
    whole = sum(_recompute_bytes(view) or 0 for view in views if view.get("bytes_read") is not None)
    committed = sum(1 for view in views if view.get("outcome") == "committed")
    summary = f"{counted(len(views), 'view')}, {committed} refreshed, {bytes_text(read)} read"
    if whole > read:
        summary += f" in place of {bytes_text(whole)} ({share_text(read, whole)} saved)"
    summary += f", {duration_text(report.get('elapsed_ms'))}"
    if failed:
        show_line(f"{summary}; failed: {', '.join(failed)}; see `daemonctl why {failed[0]}`", RED)
    else:
        show_line(summary, GREEN)
    return cycle_exit_code(report)


def _cycle_row(view: Json) -> Sequence[Any]:
    ran = view.get("outcome") not in QUIET_OUTCOMES
    read, whole = view.get("bytes_read"), _recompute_bytes(view)
    return (
        view.get("view"),
        view.get("strategy"),
        view.get("outcome"),
        view.get("message") or view.get("reason"),
        count_text(view.get("rows_inserted")) if ran else "–",
        count_text(view.get("rows_deleted")) if ran else "–",
        bytes_text(read) if ran else "–",
        bytes_text(whole) if ran else "–",
        share_text(read, whole) if ran and view.get("strategy") == "incremental" else "–",
        duration_text(view.get("elapsed_ms")),
    )


def status_code(status: Json) -> int:
    """1 if something in a status needs a person, else 0."""
    daemon = status.get("daemon") or {}
    live = daemon.get("views", {})
    states = {state_of(view, live.get(view.get("name"), {})) for view in status.get("views", ())}
    unreadable = any(one.get("error") for one in status.get("datasets", ()))
    return EXIT_FAILED if states & BAD_STATES or unreadable or _is_broken_on_disk(daemon) else EXIT_OK


def _recompute_bytes(view: Json) -> int | None:
    """What a recompute would have read: for a recompute, what it did read."""
    known = view.get("bytes_recompute")
    return view.get("bytes_read") if known is None and view.get("strategy") == "recompute" else known


def show_status(status: Json) -> int:
    """How each view is, then the datasets, then what is wrong."""
    daemon = status.get("daemon")
    live = (daemon or {}).get("views", {})
    rows = [_status_row(view, live.get(view.get("name"), {})) for view in status.get("views", ())]
    show_table(["view", "state", "lag", "target", "version", "rows", "size", "next", "note"], rows, right=_NUMBERS)
    datasets = status.get("datasets", [])
    if datasets:
        show_line("")
        show_table(
            ["dataset", "version", "rows", "size", "note"],
            [
                (
                    one.get("name"),
                    one.get("version"),
                    count_text(one.get("rows")),
                    bytes_text(one.get("bytes")),
                    one.get("error") or one.get("uri"),
                )
                for one in datasets
            ],
            right=["version", "rows", "size"],
        )
    show_line("")
    show_notices(status)
    code = status_code(status)
    _show_status_end(daemon, [str(row[1]) for row in rows], RED if code else GREEN)
    return code


_NUMBERS = ["lag", "target", "version", "rows", "size"]


def _status_row(view: Json, live: Json) -> Sequence[Any]:
    state = state_of(view, live)
    note = view.get("paused") if state == "paused" else view.get("message")
    return (
        view.get("name"),
        state,
        duration_text(lag_of(view, live)),
        duration_text(view.get("target_lag_ms")),
        view.get("version"),
        count_text(view.get("rows")),
        bytes_text(view.get("bytes")),
        view.get("strategy"),
        note or "",
    )


def _is_broken_on_disk(daemon: Json) -> bool:
    return bool(daemon.get("definitions_failure") or daemon.get("certificate_failure"))


def _show_status_end(daemon: Json | None, states: Sequence[str], colour: str) -> None:
    counts = ", ".join(
        f"{states.count(state)} {state}"
        for state in sorted(set(states), key=lambda state: (-states.count(state), state))
    )
    broken = (daemon or {}).get("definitions_failure")
    if broken:
        for problem in broken.get("problems") or [{"where": "", "what": broken.get("message", "")}]:
            show_line(f"definitions on disk are broken, the old ones stay: {problem['where']} {problem['what']}", RED)
    refused = (daemon or {}).get("certificate_failure")
    if refused:
        show_line(f"the certificate on disk cannot be used, the old one stays: {refused['message']}", RED)
    if daemon is None:
        show_line("no daemon runs; start one with `daemonctl run`", DIM)
    else:
        in_hand = daemon.get("in_hand")
        doing = f", {in_hand['what']} for {duration_text(in_hand['elapsed_ms'])}" if in_hand else ""
        show_line(
            f"daemon {daemon.get('state')} (pid {daemon.get('pid')}, version {daemon.get('version')}){doing}", DIM
        )
    if daemon is not None and daemon.get("restart_needed"):
        show_line("[engine], [daemon] or an integration changed on disk: restart the daemon to use it", YELLOW)
    show_line(f"{counted(len(states), 'view')}: {counts or 'none'}", colour)


def show_views(views: Sequence[Json]) -> int:
    """What each view reads, how it is kept, and why it is not incremental where it is not."""
    show_table(
        ["view", "kept", "reads", "target lag", "partitioned by", "source", "why"],
        [
            (
                view.get("name"),
                "incremental" if view.get("incremental") else "recompute",
                view.get("inputs"),
                duration_text(view.get("target_lag_ms")),
                (view.get("write") or {}).get("partition_by") or "–",
                view.get("source"),
                view.get("reason") or "",
            )
            for view in views
        ],
        right=["target lag"],
    )
    incremental = sum(1 for view in views if view.get("incremental"))
    show_line(f"{counted(len(views), 'view')}, {incremental} incremental")
    return EXIT_OK


def show_history(records: Sequence[Json]) -> int:
    """The last refreshes, newest first."""
    from daemon.clock import timestamp_text

    show_table(
        ["time", "view", "strategy", "outcome", "why", "inserted", "deleted", "read", "saved", "took", "version"],
        [
            (
                timestamp_text(int(one.get("started_ms") or 0))[:19].replace("T", " "),
                one.get("view"),
                one.get("strategy"),
                one.get("outcome"),
                one.get("error") or one.get("message") or one.get("reason"),
                count_text(one.get("rows_inserted")),
                count_text(one.get("rows_deleted")),
                bytes_text(one.get("bytes_read")),
                share_text(one.get("bytes_read"), one.get("bytes_recompute"))
                if one.get("strategy") == "incremental"
                else "–",
                duration_text(one.get("elapsed_ms")),
                one.get("version"),
            )
            for one in records
        ],
        right=["inserted", "deleted", "read", "saved", "took", "version"],
    )
    show_line(f"the last {len(records)}, newest first" if records else "nothing was refreshed yet")
    return EXIT_OK


def show_scans(report: Json) -> int:
    """One refresh, and each input as it was read."""
    show_history([report.get("refresh", {})])
    show_line("")
    show_table(
        ["relation", "version", "read", "files", "skipped", "size", "rows", "columns", "filters"],
        [
            (
                one.get("relation"),
                one.get("version"),
                one.get("side"),
                count_text(one.get("files")),
                count_text(one.get("skipped_files")),
                bytes_text(one.get("bytes")),
                count_text(one.get("rows")),
                one.get("columns"),
                one.get("filters"),
            )
            for one in report.get("scan_units", ())
        ],
        right=["version", "files", "skipped", "size", "rows"],
    )
    return EXIT_OK


def show_requests(requests: Sequence[Json]) -> int:
    """Who asked for which change, and what came of it."""
    from daemon.clock import timestamp_text

    show_table(
        ["time", "who", "by", "asked for", "result", "took", "reason"],
        [
            (
                timestamp_text(int(one.get("recorded_ms") or 0))[:19].replace("T", " "),
                one.get("who"),
                one.get("way"),
                " ".join([str(one.get("operation")), *_asked(one.get("parameters") or {})]),
                one.get("result"),
                duration_text(one.get("elapsed_ms")),
                one.get("reason") or one.get("message") or "",
            )
            for one in requests
        ],
        right=["took"],
    )
    show_line(f"the last {len(requests)}, newest first" if requests else "nobody asked for a change yet")
    return EXIT_OK


def _asked(parameters: Json) -> Sequence[str]:
    """The parameters of a request in words; what says nothing is left out."""
    words: list[str] = []
    for name, value in parameters.items():
        match value:
            case True:
                words.append(f"--{name}")
            case list() | tuple():
                words += map(str, value)
            case str() if name == "view":
                words.append(value)
            case str() if value and name != "cause":
                words.append(f"{name}={value}")
            case _:
                pass
    return words


def show_replanned(report: Json) -> int:
    """What planning anew gave for each view."""
    views = report.get("views", [])
    show_table(
        ["view", "plan", "content", "moved by", "fingerprint"],
        [
            (
                view.get("view"),
                "same" if view.get("fingerprint_before") == view.get("fingerprint_after") else "changed",
                "recomputed at the next refresh" if view.get("recompute") else "stays",
                view.get("moved") or "–",
                str(view.get("fingerprint_after", ""))[:12],
            )
            for view in views
        ],
    )
    show_line(f"{counted(len(views), 'view')} planned anew", GREEN)
    return EXIT_OK


def show_verified(report: Json) -> int:
    """Whether each view equals its recomputation; 8 where one does not, or was not compared."""
    views = report.get("views", [])
    show_table(
        ["view", "result", "rows", "missing", "unexpected", "version", "pins", "note"],
        [
            (
                view.get("view"),
                _verdict(view),
                count_text(view.get("rows")),
                count_text(view.get("missing")),
                count_text(view.get("unexpected")),
                view.get("version"),
                ", ".join(f"{relation}@{version}" for relation, version in (view.get("pins") or {}).items()),
                view.get("message") or _approximate(view),
            )
            for view in views
        ],
        right=["rows", "missing", "unexpected", "version"],
    )
    for view in views:
        for sample in list(view.get("samples", ()))[:SAMPLES_MAX]:
            show_line(f"  {view.get('view')}: {sample}", DIM)
    different = [str(view.get("view")) for view in views if _verdict(view) == "different"]
    if different:
        show_line(f"not equal: {', '.join(different)}; `daemonctl refresh {different[0]} --recompute` repairs it", RED)
        return EXIT_CHECK_FAILED
    unproved = [str(view.get("view")) for view in views if _verdict(view) == "not compared"]
    if unproved:
        show_line(f"not compared: {', '.join(unproved)}", YELLOW)
        return EXIT_CHECK_FAILED
    show_line(f"{counted(len(views), 'view')} compared: equal to the recomputation at the pins", GREEN)
    return EXIT_OK


def _verdict(view: Json) -> str:
    if not view.get("checked", True):
        return "not compared"
    return "equal" if view.get("equal") else "different"


def _approximate(view: Json) -> str:
    columns = view.get("approximate_columns") or ()
    reason = view.get("approximate_reason")
    because = f" ({reason})" if reason else ""
    return f"to 12 digits{because}: {', '.join(columns)}" if columns else ""


def show_rows(result: Json) -> int:
    """The rows of a query."""
    columns, rows = result.get("columns", []), result.get("rows", [])
    show_table([str(column) for column in columns], rows)
    more = ", and more (raise --limit)" if result.get("truncated") else ""
    show_line(f"{counted(len(rows), 'row')}{more}", DIM)
    return EXIT_OK


def show_notices(report: Json) -> None:
    """What a person should know and what stops nothing."""
    for notice in report.get("notices", ()):
        show_line(f"{notice.get('subject')}: {notice.get('message')}", YELLOW)
