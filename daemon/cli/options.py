"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def output_option(command: Command) -> Command:
    """`-o table|json`: a table for people, stable JSON for programs."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON for programs.",
    )(command)


def reason_option(command: Command) -> Command:
    """`--reason`: why a change is asked for."""
    return click.option("--reason", default="", help="Why; kept with who asked, see `daemonctl requests`.")(command)
