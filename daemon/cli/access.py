"""Where a command's answer comes from: the running daemon, else a keeper opened in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from daemon.cli.application import Setting
from daemon.cli.progress import Progress
from daemon.client import DaemonClient, NoDaemon
from daemon.place import find_project, socket_path

JsonValue = Any


def setting(ctx: click.Context) -> Setting:
    """The options that were given before the command."""
    found = ctx.find_object(Setting)
    assert found is not None
    return found


def project_root(ctx: click.Context) -> Path:
    """The folder of the project that the command is about."""
    chosen = setting(ctx).project
    return find_project(chosen or Path(), given=chosen is not None)


def perform(ctx: click.Context, operation: str, parameters: Mapping[str, JsonValue], what: str) -> JsonValue:
    """Run an operation online if a daemon answers, else in this process; `what` is the first line of progress."""
    root, options = project_root(ctx), setting(ctx)
    with Progress(what, quiet=options.quiet) as progress:
        if not options.offline:
            try:
                return DaemonClient(socket_path(root)).call(operation, parameters, progress.event)
            except NoDaemon:
                pass
        return _perform_here(root, operation, parameters, progress)


def _perform_here(root: Path, operation: str, parameters: Mapping[str, JsonValue], progress: Progress) -> JsonValue:
    # Imported only now: this is where the engine gets loaded.
    from daemon.clock import SystemClock
    from daemon.live_keeper import open_keeper
    from daemon.operations import find_operation, perform_here
    from daemon.unix_user import caller_here

    find_operation(operation).check(parameters)
    clock = SystemClock()
    keeper = open_keeper(root, clock)
    try:
        return perform_here(keeper, operation, parameters, progress.event, caller=caller_here(), clock=clock)
    finally:
        keeper.close()
