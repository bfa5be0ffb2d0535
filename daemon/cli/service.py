"""`daemonctl run`, `reload` and `health`: the service in the foreground, one cycle, new definitions, health."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from daemon.cli.access import perform, project_root, setting
from daemon.cli.options import output_option
from daemon.cli.show import show_failure, show_json
from daemon.cli.tables import cycle_exit_code, show_cycle
from daemon.client import DaemonClient, NoDaemon
from daemon.failure import Failed, Failure
from daemon.place import socket_path
from registry.errors import EXIT_CHECK_FAILED, EXIT_NOT_REACHABLE, EXIT_OK

HEALTH_PATIENCE_S = 4.0


@click.command()
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@click.option("--once", is_flag=True, help="Run one cycle, show what it did, and end.")
@click.option("--recompute", is_flag=True, help="With --once: recompute instead of refreshing.")
@click.option("--socket", type=click.Path(path_type=Path), help="Listen for control here instead.")
@click.option("--listen", metavar="HOST:PORT", help="Serve metrics and health here instead.")
@click.option("--no-listen", is_flag=True, help="Serve no metrics and health.")
@click.option("--log", type=click.Choice(["auto", "json", "console"]), help="How log lines look.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How bad a line has to be.",
)
@output_option
@click.pass_context
def run(
    ctx: click.Context,
    views: tuple[str, ...],
    once: bool,
    recompute: bool,
    socket: Path | None,
    listen: str | None,
    no_listen: bool,
    log: str | None,
    log_level: str | None,
    output: str,
) -> int:
    """Keep the views until stopped, or run one cycle.

    Without --once this is the service in the foreground: TERM or Ctrl-C finishes what runs (30 s at most), a second
    one stops now, HUP reads the definitions again.

    With --once, views to bring up to date may be named; exit code 1 says that at least one failed.
    """
    if once:
        return _run_once(ctx, views, recompute=recompute, output=output)
    if views or recompute:
        raise click.UsageError("views and --recompute belong to --once; the service keeps all views", ctx)
    root = project_root(ctx)
    if not setting(ctx).quiet:
        sys.stderr.write(f'deltakeep keeps "{root}"; Ctrl-C drains and stops\n')
        sys.stderr.flush()
    # Imported only now: the first line is out.
    from daemon.start import StartOptions, serve

    return serve(root, StartOptions(socket=socket, listen=listen, no_listen=no_listen, log=log, log_level=log_level))


def _run_once(ctx: click.Context, views: tuple[str, ...], *, recompute: bool, output: str) -> int:
    parameters: dict[str, Any] = {"views": list(views), "recompute": recompute, "cause": "request"}
    report = perform(ctx, "cycle", parameters, "one cycle")
    if output == "json":
        show_json(report)
        return cycle_exit_code(report)
    return show_cycle(report)


@click.command()
@output_option
@click.pass_context
def reload(ctx: click.Context, output: str) -> int:
    """Make the daemon read the definitions again.

    The daemon does so by itself when files change; this waits for the result and tells it.
    Broken definitions change nothing: the errors are printed and the old ones stay in use.
    """
    path = socket_path(project_root(ctx))
    try:
        report = DaemonClient(path).call("reload", {}, None)
    except NoDaemon:
        raise Failed(_nobody_answers(path)) from None
    except Failed as error:
        show_failure(error.failure)
        return error.failure.exit_code
    if output == "json":
        show_json(report)
    else:
        changed = report.get("changed", [])
        sys.stdout.write(f"reloaded: {', '.join(changed)} changed\n" if changed else "reloaded: nothing changed\n")
    return EXIT_OK


@click.command()
@click.option("--ready", is_flag=True, help="Whether every view was looked at since the start, instead.")
@click.pass_context
def health(ctx: click.Context, ready: bool) -> int:
    """Ask the daemon whether its work turns.

    For health checks: exit code 0 says that watcher, planner and committer turn, 8 that one of them stands, 7 that
    nobody answers within four seconds.  A long refresh is healthy.
    """
    path = socket_path(project_root(ctx))
    page = "/-/ready?verbose" if ready else "/-/healthy"
    try:
        status, text = DaemonClient(path, timeout_s=HEALTH_PATIENCE_S).get(page)
    except NoDaemon:
        raise Failed(_nobody_answers(path)) from None
    sys.stdout.write(text)
    return EXIT_OK if status == 200 else EXIT_CHECK_FAILED


def _nobody_answers(path: Path) -> Failure:
    hint = "start it with `daemonctl run` or `systemctl start deltakeep`"
    return Failure("daemon_not_reachable", f'no daemon answers on "{path}"', hint, exit_code=EXIT_NOT_REACHABLE)
