"""`daemonctl status`, `views`, `lineage`, `history`: looking, never touching."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli.access import perform
from daemon.cli.options import output_option
from daemon.cli.show import show_json
from daemon.cli.tables import show_history, show_requests, show_scans, show_status, show_views, status_code
from registry.errors import EXIT_OK


@click.command()
@output_option
@click.pass_context
def status(ctx: click.Context, output: str) -> int:
    """How fresh each view is, and what is wrong.

    Exit code 1 says that something needs a person: a failed, refused or late view, a dataset that cannot be read, or
    definitions on disk that are broken.
    """
    report = perform(ctx, "status", {}, "looking")
    if output == "json":
        show_json(report)
        return status_code(report)
    return show_status(report)


@click.command()
@output_option
@click.pass_context
def views(ctx: click.Context, output: str) -> int:
    """What each view reads and how it is refreshed."""
    report = perform(ctx, "views", {}, "looking")
    return _json(report) if output == "json" else show_views(report)


@click.command()
@click.argument("view", required=False, metavar="[VIEW[.COLUMN]]")
@output_option
@click.pass_context
def lineage(ctx: click.Context, view: str | None, output: str) -> int:
    """Where a view's columns come from, or who reads whom.

    Without a view the graph of all relations is shown.
    """
    name, _, column = (view or "").partition(".")
    report = perform(ctx, "lineage", {"view": name or None}, "looking")
    if output == "json":
        return _json(report)
    from daemon.cli.trees import show_lineage

    return show_lineage(report, column or None)


@click.command()
@click.argument("view", required=False, metavar="[VIEW]")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--cycle", metavar="ID", help="The refresh of VIEW in this cycle, with what it read.")
@output_option
@click.pass_context
def history(ctx: click.Context, view: str | None, limit: int, cycle: str | None, output: str) -> int:
    """The last refreshes of a view, or of all, newest first."""
    if cycle is not None:
        if view is None:
            raise click.UsageError("--cycle needs the name of a view", ctx)
        found = perform(ctx, "scans", {"view": view, "cycle_id": cycle}, "looking")
        return _json(found) if output == "json" else show_scans(found)
    report = perform(ctx, "history", {"view": view, "limit": limit}, "looking")
    return _json(report) if output == "json" else show_history(report)


@click.command()
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@output_option
@click.pass_context
def requests(ctx: click.Context, limit: int, output: str) -> int:
    """Who asked for which change, newest first.

    Users of this machine by their names, over TCP by the names of their tokens; `daemonctl query` reads all of it as
    deltakeep.requests.
    """
    report = perform(ctx, "requests", {"limit": limit}, "looking")
    return _json(report) if output == "json" else show_requests(report)


def _json(report: Any) -> int:
    show_json(report)
    return EXIT_OK
