"""`daemonctl support-bundle` and `log-level`: what helps when something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from daemon.cli.access import project_root, setting
from daemon.cli.options import output_option
from daemon.cli.progress import Progress
from daemon.cli.show import DIM, GREEN, bytes_text, counted, show_json, show_line, show_table
from daemon.client import DaemonClient, NoDaemon
from daemon.failure import Failed, Failure
from daemon.place import socket_path
from registry.errors import EXIT_NOT_REACHABLE, EXIT_OK


@click.command(name="support-bundle")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False, metavar="[FILE]")
@click.option("--list", "only_list", is_flag=True, help="Only list what would be in it; writes nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before it is written.")
@output_option
@click.pass_context
def support_bundle(ctx: click.Context, file: Path | None, only_list: bool, yes: bool, output: str) -> int:
    """Write what helps to find a fault, without secrets.

    A tar.gz with the redacted project file, definitions, status, doctor, the last refreshes, fingerprints of plans,
    versions and machine facts; of a running daemon also state, stacks, metrics and the last log lines.
    No row of a table is in it.  Works with the daemon down.

    It is listed first, and on a terminal you are asked before FILE is written.
    """
    root, options = project_root(ctx), setting(ctx)
    with Progress("gathering", quiet=options.quiet):
        from daemon.clock import SystemClock
        from daemon.support_bundle import default_file, gather, require_free, write_bundle

        clock = SystemClock()
        target = file or default_file(root, clock)
        if not only_list:
            require_free(target)
        parts = gather(root, clock, offline=options.offline)
    if output == "table":
        show_table(
            ["file", "size", "what"],
            [(part.name, "–" if part.missing else bytes_text(len(part.data)), _what(part)) for part in parts],
            right=["size"],
        )
    written: int | None = None
    if not only_list:
        if not yes and output == "table" and sys.stdin.isatty() and sys.stdout.isatty():
            click.confirm(f'write "{target}"?', default=True, abort=True)
        written = write_bundle(target, parts, clock)
    if output == "json":
        listed = [part.to_json() for part in parts]
        show_json({"file": str(target) if written is not None else None, "bytes": written, "parts": listed})
    elif written is None:
        show_line(f"{counted(len(parts), 'part')}; nothing was written", DIM)
    else:
        show_line(f'wrote "{target}", {bytes_text(written)}; look into it before you hand it on', GREEN)
    return EXIT_OK


def _what(part: Any) -> str:
    return f"not there: {part.missing}" if part.missing else str(part.what)


@click.command(name="log-level")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error"]), required=False)
@output_option
@click.pass_context
def log_level(ctx: click.Context, level: str | None, output: str) -> int:
    """Show or set the level of the daemon's log.

    Lines below it are not written.  It lasts until the daemon ends; `[daemon] log_level` is what it starts with.
    """
    path = socket_path(project_root(ctx))
    try:
        found = DaemonClient(path).call("log_level", {"level": level}, None)
    except NoDaemon:
        hint = "start it with `daemonctl run` or `systemctl start deltakeep`"
        raise Failed(
            Failure("daemon_not_reachable", f'no daemon answers on "{path}"', hint, exit_code=EXIT_NOT_REACHABLE)
        ) from None
    if output == "json":
        show_json(found)
    elif found["level"] == found["before"]:
        show_line(f"the daemon logs from level {found['level']}")
    else:
        show_line(f"the daemon logs from level {found['level']}, before from {found['before']}", GREEN)
    return EXIT_OK
