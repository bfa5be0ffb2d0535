"""`daemonctl why`, `explain`, `preview`: reasons, before and after the fact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daemon.cli.access import perform
from daemon.cli.options import output_option
from daemon.cli.show import show_json
from registry.errors import EXIT_CHANGES_PENDING, EXIT_OK


@click.command()
@click.argument("view", metavar="VIEW")
@output_option
@click.pass_context
def why(ctx: click.Context, view: str, output: str) -> int:
    """Why a view was refreshed, or why not.

    The tree of facts behind the last decision: versions, commits, files, costs, and what came of it.
    """
    report = perform(ctx, "why", {"view": view}, f"asking about {view}")
    if output == "json":
        show_json(report)
        return EXIT_OK
    from daemon.cli.trees import show_why

    return show_why(report)


@click.command()
@click.argument("view", metavar="VIEW")
@click.option("--physical", is_flag=True, help="Also the physical plan.")
@output_option
@click.pass_context
def explain(ctx: click.Context, view: str, physical: bool, output: str) -> int:
    """A view's plan and how each operator is maintained.

    What would fall back to a recompute is marked, with what to change.  Scans show how large that is which they read,
    states are explained like the view, and each has its costs: what a recompute reads and writes, and what the last
    refreshes did and took.
    """
    report = perform(ctx, "explain", {"view": view}, f"explaining {view}")
    if output == "json":
        show_json(report)
        return EXIT_OK
    from daemon.cli.trees import show_explained

    return show_explained(report, physical=physical)


@click.command()
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@click.option("--dataset", metavar="NAME", help="Suppose that rows of this dataset change.")
@click.option("--where", metavar="SQL", help="Which rows of --dataset, as a condition.")
@click.option(
    "--definitions",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Suppose the definitions of this project folder.",
)
@click.option("--edit", "edits", multiple=True, metavar="VIEW=FILE", help="Suppose the SQL of FILE for a view.")
@click.option("--exact", is_flag=True, help="Also compute the changed rows; reads data.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 if something would be refreshed.")
@output_option
@click.pass_context
def preview(
    ctx: click.Context,
    views: tuple[str, ...],
    dataset: str | None,
    where: str | None,
    definitions: Path | None,
    edits: tuple[str, ...],
    exact: bool,
    exit_code: bool,
    output: str,
) -> int:
    """What a change would touch and cost; writes nothing.

    Without options: the changes that are pending now.  For each view that would be refreshed: the path of cause, the
    strategy and its reason, files and bytes to read and write (upper bounds), what is skipped; for the others, why not.
    """
    if where is not None and dataset is None:
        raise click.UsageError("--where says which rows of --dataset change", ctx)
    parameters: dict[str, Any] = {
        "views": list(views),
        "exact": exact,
        "edited": dict(_edit(ctx, one) for one in edits),
    }
    parameters |= {"dataset": dataset, "where": where}
    parameters["definitions"] = None if definitions is None else str(definitions.resolve())
    report = perform(ctx, "preview", parameters, "looking ahead")
    if output == "json":
        show_json(report)
    else:
        from daemon.cli.trees import show_preview

        show_preview(report)
    return EXIT_CHANGES_PENDING if exit_code and report.get("affected") else EXIT_OK


def _edit(ctx: click.Context, text: str) -> tuple[str, str]:
    view, separator, file = text.partition("=")
    if not separator or not view or not Path(file).is_file():
        raise click.UsageError(f'--edit needs VIEW=FILE with a file that exists, got "{text}"', ctx)
    return view, Path(file).read_text(encoding="utf-8")
