"""`daemonctl check` and `doctor`: is the project right, is the machine right."""

from __future__ import annotations

import click

from daemon.cli.access import project_root, setting
from daemon.cli.options import output_option
from daemon.cli.progress import Progress
from daemon.cli.show import GREEN, RED, YELLOW, counted, show_json, show_line, show_table
from daemon.failure import failure_of
from registry.errors import EXIT_CHECK_FAILED, EXIT_OK, DefinitionError


@click.command()
@output_option
@click.pass_context
def check(ctx: click.Context, output: str) -> int:
    """Validate the project: definitions, graph and plans.

    All problems are told in one pass, each with file, line and what to do; exit code 78 says that there are some.
    A view that is kept by recomputing is no problem; why is shown, and what to change.  Nothing is written.
    """
    root = project_root(ctx)
    with Progress(f'checking "{root}"', quiet=setting(ctx).quiet):
        from daemon.checking import check_project

        try:
            report = check_project(root)
        except DefinitionError as error:
            if output != "json":
                raise
            failure = failure_of(error)
            show_json(failure.to_json())
            return failure.exit_code
    if output == "json":
        show_json(report.to_json())
        return EXIT_OK
    show_table(
        ["view", "kept", "reads", "why", "hint"],
        [
            (
                view["name"],
                "incremental" if view["incremental"] else "recompute",
                view["inputs"],
                view["reason"] or "",
                view["hint"],
            )
            for view in report.views
        ],
    )
    functions = f", {counted(len(report.functions), 'function')}" if report.functions else ""
    datasets, views = counted(len(report.datasets), "dataset"), counted(len(report.views), "view")
    show_line(f"{datasets}{functions} and {views}: all right", GREEN)
    return EXIT_OK


@click.command()
@output_option
@click.pass_context
def doctor(ctx: click.Context, output: str) -> int:
    """Check the environment: clock, disk, rights, datasets.

    Works with the daemon down.  Exit code 8 says that something will not work.
    """
    root = project_root(ctx)
    with Progress(f'examining "{root}"', quiet=setting(ctx).quiet):
        from daemon.clock import SystemClock
        from daemon.doctor import examine

        findings = list(examine(root, SystemClock()))
    failures = sum(1 for one in findings if one.level == "failure")
    if output == "json":
        show_json([finding.to_json() for finding in findings])
        return EXIT_CHECK_FAILED if failures else EXIT_OK
    show_table(
        ["", "subject", "found", "what to do"],
        [(one.level, one.subject, one.message, one.hint if one.level != "ok" else "") for one in findings],
    )
    warnings = sum(1 for one in findings if one.level == "warning")
    if failures:
        show_line(f"{counted(failures, 'failure')}, {counted(warnings, 'warning')}", RED)
        return EXIT_CHECK_FAILED
    show_line(f"it works, {counted(warnings, 'warning')}" if warnings else "all well", YELLOW if warnings else GREEN)
    return EXIT_OK
