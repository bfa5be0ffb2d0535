"""`daemonctl replan`, `refresh`, `pause`, `resume`: what changes something."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli.access import perform
from daemon.cli.options import output_option, reason_option
from daemon.cli.show import show_json, show_line
from daemon.cli.tables import cycle_exit_code, show_cycle, show_replanned


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[view] NAME...")
@reason_option
@output_option
@click.pass_context
def replan(ctx: click.Context, words: tuple[str, ...], reason: str, output: str) -> int:
    """Plan a view anew from its definition.

    Written `daemonctl replan view NAME`.  The stored plan is not used; what changed against it is told.
    Rows change only if the new plan has another content key.
    """
    views = list(words[1:] if words[0] == "view" and len(words) > 1 else words)
    report = perform(ctx, "replan", {"views": views, "reason": reason}, f"planning {', '.join(views)}")
    if output == "json":
        show_json(report)
        return 0
    return show_replanned(report)


@click.command()
@click.argument("views", nargs=-1, required=True, metavar="VIEW...")
@click.option("--recompute", is_flag=True, help="Recompute the whole content, whatever changed.")
@reason_option
@output_option
@click.pass_context
def refresh(ctx: click.Context, views: tuple[str, ...], recompute: bool, reason: str, output: str) -> int:
    """Refresh views now, with what they depend on.

    Exit code 1 says that at least one failed, 78 that a newer version of Deltakeep keeps those that did.
    """
    parameters: dict[str, Any] = {"views": list(views), "recompute": recompute, "reason": reason}
    report = perform(ctx, "refresh", parameters, f"refreshing {', '.join(views)}")
    if output == "json":
        show_json(report)
        return cycle_exit_code(report)
    return show_cycle(report)


@click.command()
@click.argument("view", metavar="VIEW")
@click.option("--reason", default="", help="Why; shown wherever the view is shown.")
@output_option
@click.pass_context
def pause(ctx: click.Context, view: str, reason: str, output: str) -> None:
    """Stop refreshing a view until it is resumed.

    Survives restarts.  Readers keep the content that is there; views that read it wait.
    """
    report = perform(ctx, "pause", {"view": view, "reason": reason}, f"pausing {view}")
    if output == "json":
        show_json(report)
    else:
        show_line(f"{view} is paused; `daemonctl resume {view}` refreshes it again")


@click.command()
@click.argument("view", metavar="VIEW")
@reason_option
@output_option
@click.pass_context
def resume(ctx: click.Context, view: str, reason: str, output: str) -> None:
    """Refresh a paused view again."""
    report = perform(ctx, "resume", {"view": view, "reason": reason}, f"resuming {view}")
    if output == "json":
        show_json(report)
    else:
        show_line(f"{view} is refreshed again")
