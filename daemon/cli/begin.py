"""`daemonctl init` and `demo`: the first ten minutes."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from daemon.cli.access import setting
from daemon.cli.progress import Progress
from daemon.cli.show import DIM, GREEN, RED, bytes_text, counted, share_text, show_line
from daemon.clock import SystemClock
from daemon.failure import Failed, Failure
from registry.errors import EXIT_CHECK_FAILED, EXIT_CONFLICT, EXIT_NOT_FOUND, EXIT_OK

EXAMPLE = "examples/flights/replay.py"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), metavar="[DIR]")
@click.pass_context
def init(ctx: click.Context, folder: Path) -> int:
    """Make a small working project.

    One dataset with a few orders in it, two views over it.  Nothing that exists is overwritten.
    """
    with Progress(f'making a project in "{folder}"', quiet=setting(ctx).quiet):
        from daemon.scaffold import make_project

        made = make_project(folder, SystemClock().now_ms())
    for path in made:
        show_line(f"  {path}")
    go = "" if folder == Path() else f"cd {folder}, then "
    show_line(f"next: {go}`daemonctl check`, `daemonctl run --once`, `daemonctl status`", GREEN)
    return EXIT_OK


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False, metavar="[DIR]")
@click.option("--days", type=click.IntRange(min=1, max=92), default=14, show_default=True, help="Days to replay.")
@click.pass_context
def demo(ctx: click.Context, folder: Path | None, days: int) -> int:
    """Replay the flights example and watch it being kept.

    Real flights of 2013 arrive as daily commits, with corrections, deletes and an OPTIMIZE in between; after it every
    view is compared with its recomputation, and exit code 8 says that one differs.  DIR keeps the project; default is
    a new temporary folder.
    """
    file = _example()
    place = folder or Path(tempfile.mkdtemp(prefix="deltakeep-demo-"))
    with Progress(f'replaying flights in "{place}"', quiet=setting(ctx).quiet) as progress:
        summary = _replay(file, place, days, progress)
    commits, read, whole = summary.commits, summary.bytes_read, summary.bytes_recompute
    show_line(
        f"{commits} commits taken in by {_counts(summary.refreshes)}; {bytes_text(read)} read, recomputing each time "
        f"would have read {bytes_text(whole)} ({share_text(read, whole)} saved)"
    )
    show_line(f"look around: daemonctl -C {place} status; daemonctl -C {place} why daily_figures", DIM)
    different = [view for view, equal in summary.verified.items() if not equal]
    if different or not summary.right:
        show_line(f"not equal to their recomputation: {', '.join(different) or 'no view was verified'}", RED)
        return EXIT_CHECK_FAILED
    show_line(f"{counted(len(summary.verified), 'view')} compared: equal to the recomputation", GREEN)
    return EXIT_OK


def _replay(file: Path, place: Path, days: int, progress: Progress) -> Any:
    """Run the example and narrate; gives its summary."""

    def tell(event: Any) -> None:
        # The replay narrates each refresh itself; the events of its cycles would say everything twice.
        if event.cycle is None and event.text:
            progress.say(event.text if event.kind in {"load", "day", "verify"} else f"  {event.text}")

    try:
        return _load(file).main(place, days=days, on_event=tell)
    except FileExistsError as error:
        failure = Failure(
            "already_there", str(error), "name another folder; nothing was written", exit_code=EXIT_CONFLICT
        )
        raise Failed(failure) from error
    except ModuleNotFoundError as error:
        hint = "pip install 'deltakeep[demo]'"
        raise Failed(Failure("example_missing", str(error), hint, exit_code=EXIT_NOT_FOUND)) from error


def _counts(refreshes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {strategy}" for strategy, count in refreshes.items()) or "no refreshes"


def _example() -> Path:
    """The example beside this package: in a checkout and in a wheel alike."""
    file = Path(__file__).resolve().parents[2] / EXAMPLE
    if not file.is_file():
        message = f"the flights example is not part of this installation ({EXAMPLE} is missing)"
        hint = "run it from a checkout of the project, or begin with `daemonctl init shop`"
        raise Failed(Failure("example_missing", message, hint, exit_code=EXIT_NOT_FOUND))
    return file


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_replay", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by its name.
    sys.modules["flights_replay"] = module
    spec.loader.exec_module(module)
    return module
