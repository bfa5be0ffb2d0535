"""`daemonctl version`: what is installed, without loading it."""

from __future__ import annotations

import click

from daemon.build import installed_versions
from daemon.cli.options import output_option
from daemon.cli.show import show_json, show_line


@click.command()
@output_option
def version(output: str) -> None:
    """Versions of everything that matters.

    Read from the installed packages; nothing is loaded and no daemon is asked.
    """
    versions = installed_versions()
    if output == "json":
        show_json(versions)
        return
    for name, found in versions.items():
        show_line(f"{name} {found}")
