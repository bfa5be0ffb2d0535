"""`daemonctl verify` and `query`: the rows themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daemon.cli.access import perform
from daemon.cli.options import output_option
from daemon.cli.show import show_json
from daemon.cli.tables import show_rows, show_verified
from registry.errors import EXIT_CHECK_FAILED, EXIT_OK


@click.command()
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@click.option("--all", "everything", is_flag=True, help="All views.")
@click.option("--digest", is_flag=True, help="Compare digests instead of rows: the target is not read.")
@click.option("--version", type=click.IntRange(0), help="A version of the past of one view's target, by its digest.")
@output_option
@click.pass_context
def verify(
    ctx: click.Context, views: tuple[str, ...], everything: bool, digest: bool, version: int | None, output: str
) -> int:
    """Prove that views equal their recomputation.

    Each view is computed anew at the versions that it was made from and compared as a bag, duplicates and NULLs
    included.  Exit code 8 says that one differs, or could not be compared.

    With --digest the digest of the recomputation is compared with the one that the target's last commit carries.
    """
    if bool(views) == everything:
        raise click.UsageError("name the views, or say --all", ctx)
    if version is not None and len(views) != 1:
        raise click.UsageError("a version is one of one view: name that view", ctx)
    what = "all views" if everything else ", ".join(views)
    parameters = {"views": list(views), "digest": digest, "version": version}
    report = perform(ctx, "verify", parameters, f"verifying {what}")
    if output == "json":
        show_json(report)
        equal = all(view.get("equal") for view in report.get("views", ()))
        return EXIT_OK if equal else EXIT_CHECK_FAILED
    return show_verified(report)


@click.command()
@click.argument("sql", required=False)
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the SQL here.")
@click.option("-n", "--limit", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="Rows.")
@output_option
@click.pass_context
def query(ctx: click.Context, sql: str | None, file: Path | None, limit: int, output: str) -> int:
    """Run SQL over datasets, views and artifact tables.

    Datasets and views go by their names, artifact tables by `deltakeep.refreshes` and the like; `-` reads the SQL
    from stdin.  Nothing is written.
    """
    if (sql is None) == (file is None):
        raise click.UsageError("give the SQL, or a file with -f", ctx)
    text = file.read_text(encoding="utf-8") if file is not None else sys.stdin.read() if sql == "-" else sql
    report = perform(ctx, "query", {"sql": text, "limit": limit}, "querying")
    if output == "json":
        show_json(report)
        return EXIT_OK
    return show_rows(report)
