"""Documents that are made from code: `make docs` writes them, `tests/test_documents.py` holds them to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from daemon.cli.application import VERBS, application
from daemon.metrics_catalogue import catalogue_page
from registry.reasons import ReasonCode
from tests.sources import ROOT

MADE: Final = "<!-- Made by `make docs`. -->"


def reasons() -> str:
    """Return docs/reasons.md."""
    lines = [
        "# Reason codes",
        "",
        MADE,
        "",
        "Why a strategy, a skip, a wait or a failure: a closed list.",
        "`daemonctl why VIEW` and `daemonctl history VIEW` show them, so do metrics and `deltakeep.refreshes`.",
        "",
        "| code | because | what to do |",
        "|---|---|---|",
        *(f"| `{code.value}` | {code.text} | {code.hint} |" for code in ReasonCode),
    ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return docs/cli.md."""
    context = click.Context(application, info_name="daemonctl", terminal_width=100)
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "```text",
        *(line.rstrip() for line in application.get_help(context).splitlines()),
        "```",
    ]
    for name in VERBS:
        lines += ["", f"## daemonctl {name}", "", *_command(context, name)]
    return "\n".join(lines) + "\n"


def _command(context: click.Context, name: str) -> Iterator[str]:
    command = application.get_command(context, name)
    assert command is not None
    yield "```text"
    text = command.get_help(click.Context(command, info_name=name, parent=context, terminal_width=100))
    yield from (line.rstrip() for line in text.splitlines())
    yield "```"


DOCUMENTS: Final[dict[str, Callable[[], str]]] = {
    "reasons.md": reasons,
    "metrics.md": catalogue_page,
    "cli.md": commands,
}


def write() -> None:
    """Write every document."""
    for name, make in DOCUMENTS.items():
        (ROOT / "docs" / name).write_text(make())


if __name__ == "__main__":
    write()
