"""`daemonctl export`: files for the programs around a project."""

from __future__ import annotations

from pathlib import Path

import click

from daemon.cli.access import project_root
from daemon.cli.show import DIM, GREEN, YELLOW, show_line
from daemon.failure import Failed, Failure
from registry.errors import EXIT_CONFLICT, EXIT_OK


@click.group()
def export() -> None:
    """Write files for the programs around a project."""


@export.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--user", metavar="NAME", help="Who the service runs as; default: the owner of the project's folder.")
@click.option("--group", metavar="NAME", help="Who may steer it and read its views; default: the user's first group.")
@click.option("--force", is_flag=True, help="Overwrite units that differ.")
@click.pass_context
def systemd(ctx: click.Context, folder: Path, user: str | None, group: str | None, force: bool) -> int:
    """Write a service and its control socket for this project.

    They start this installation with this project, in a sandbox that may write where the project writes and nowhere
    else.  The names carry the project's, so that several projects fit on one machine.
    """
    root = project_root(ctx)
    # Imported only now: it loads the project.
    from daemon.unit_files import places_of_others, shipped, site_of, unit_files

    site = site_of(root, user, group)
    made = unit_files(site, shipped("deltakeep.service"), shipped("deltakeep.socket"))
    folder.mkdir(parents=True, exist_ok=True)
    different = [name for name, text in made.items() if _differs(folder / name, text)]
    if different and not force:
        failure = Failure(
            "already_there",
            f'"{folder / different[0]}" exists and differs',
            "compare them, then repeat with --force; nothing was written",
            exit_code=EXIT_CONFLICT,
        )
        raise Failed(failure)
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
        show_line(f"  {folder / name}")
    if site.user == "root":
        show_line("  the service would run as root; name another user with --user", YELLOW)
    for place in places_of_others(site):
        show_line(f"  its content is another user's: chown -R {site.user}:{site.group} {place}", YELLOW)
    for name in site.credentials:
        show_line(f'  put the secret "{name}" into {site.root / "credentials" / name}, readable by root only', DIM)
    for name in site.variables:
        show_line(f"  put {name}=… into /etc/deltakeep/{site.unit}.env, readable by root only", DIM)
    show_line(
        f"next: copy them to /etc/systemd/system, then `systemctl daemon-reload` and "
        f"`systemctl enable --now {site.unit}.socket {site.unit}.service`",
        GREEN,
    )
    return EXIT_OK


def _differs(file: Path, text: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") != text
