"""`daemonctl top`: views, lags, refreshes, datasets and the queue of a running daemon, live."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.access import project_root
from daemon.client import DaemonClient, NoDaemon
from daemon.failure import Failed, Failure
from daemon.place import socket_path
from registry.errors import EXIT_NOT_REACHABLE

if TYPE_CHECKING:
    from pathlib import Path

PIPE_WIDTH = 120


@click.command()
@click.option("--once", is_flag=True, help="Show it once and end.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.pass_context
def top(ctx: click.Context, once: bool, interval: float) -> None:
    """Watch views, lags, refreshes and datasets live.

    What needs a person comes first.  q or Ctrl-C ends it.
    """
    path = socket_path(project_root(ctx))
    if once or not sys.stdout.isatty():
        _show_once(_look(path))
    else:
        _watch(path, interval)


def _show_once(status: Any) -> None:
    from daemon.cli.board import Screen, board
    from daemon.cli.show import console

    out = console()
    if sys.stdout.isatty():
        out.print(board(status, Screen(out.width, out.height)))
        return
    # A file or a pipe gets all of it, and no padding.
    whole = Screen(PIPE_WIDTH, (len(status.get("views", ())) + len(status.get("datasets", ()))) * 5 + 20)
    with out.capture() as captured:
        out.print(board(status, whole), width=whole.width)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def _watch(path: Path, interval_s: float) -> None:
    from rich.live import Live

    from daemon.cli.board import Screen, board
    from daemon.cli.show import console

    out = console()
    with contextlib.suppress(KeyboardInterrupt), _keys(), Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update(board(_look(path), Screen(out.width, out.height)), refresh=True)
            if _quits(interval_s):
                return


def _look(path: Path) -> Any:
    try:
        return DaemonClient(path).call("status", {}, None)
    except NoDaemon:
        hint = "start it with `daemonctl run`; `daemonctl status` works without it"
        raise Failed(
            Failure("daemon_not_reachable", f'no daemon answers on "{path}"', hint, exit_code=EXIT_NOT_REACHABLE)
        ) from None


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Get each key at once, where there are keys."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(wait_s: float) -> bool:
    """Wait, and tell whether q was pressed meanwhile; any other key looks again at once."""
    watched = [sys.stdin] if sys.stdin.isatty() else []
    readable, _, _ = select.select(watched, [], [], wait_s)
    return bool(readable) and sys.stdin.read(1) in {"q", "Q"}
