"""`daemonctl export`: files for the programs around a project, written from this installation.

Prometheus' rules, Grafana's dashboards and systemd's units lie beside the packages, in a checkout and in a wheel alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from daemon.cli.access import project_root
from daemon.cli.show import DIM, GREEN, YELLOW, show_line
from daemon.failure import Failed, Failure
from daemon.place import DEFAULT_LISTEN
from registry.errors import EXIT_CONFLICT, EXIT_NOT_FOUND, EXIT_OK

RUNBOOKS = "docs/operations"
"""The base of runbook pages as the rules have it: a path in the repository."""
PROMETHEUS_FILES = ("prometheus.yml", "rules/deltakeep-records.yml", "rules/deltakeep-alerts.yml")
GRAFANA_FILES = tuple(f"dashboards/deltakeep-{name}.json" for name in ("overview", "view", "dataset", "engine"))

_FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
_FORCE = click.option("--force", is_flag=True, help="Overwrite files that are there and differ.")


@click.group()
def export() -> None:
    """Write files for the programs around a project.

    They come from this installation, fit its version, and need no running daemon.
    """


@export.command()
@_FOLDER
@click.option(
    "--target", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True, help="Where the daemon serves metrics."
)
@click.option(
    "--runbooks", metavar="URL", default=RUNBOOKS, show_default=True, help="Where alerts say that their pages are."
)
@_FORCE
def prometheus(folder: Path, target: str, runbooks: str, force: bool) -> int:
    """Write recording rules, alert rules and a configuration.

    DIR gets prometheus.yml and rules/*.yml; a Prometheus that is there already needs the rules only.
    """
    files = {name: _text(name) for name in PROMETHEUS_FILES}
    files["prometheus.yml"] = files["prometheus.yml"].replace(DEFAULT_LISTEN, target)
    alerts = "rules/deltakeep-alerts.yml"
    base = runbooks.rstrip("/")
    files[alerts] = files[alerts].replace(f"runbook_url: {RUNBOOKS}/", f"runbook_url: {base}/")
    _write(files, folder, force=force)
    show_line(f"next: promtool check config {folder / 'prometheus.yml'}", DIM)
    return EXIT_OK


@export.command()
@_FOLDER
@_FORCE
def grafana(folder: Path, force: bool) -> int:
    """Write the dashboards as JSON.

    DIR gets four files for Grafana's import, or for the folder of a dashboard provider.
    """
    _write({Path(name).name: _text(name) for name in GRAFANA_FILES}, folder, force=force)
    show_line("next: in Grafana, Dashboards, New, Import; the data source is chosen on the dashboard", DIM)
    return EXIT_OK


@export.command()
@_FOLDER
@click.option("--user", metavar="NAME", help="Who the service runs as; default: the owner of the project's folder.")
@click.option("--group", metavar="NAME", help="Who may steer it and read its views; default: the user's first group.")
@_FORCE
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
    _write(unit_files(site, shipped("deltakeep.service"), shipped("deltakeep.socket")), folder, force=force)
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


def _text(name: str) -> str:
    """A file that came with this installation."""
    file = Path(__file__).resolve().parents[2] / "grafana" / name
    if not file.is_file():
        message = f'"grafana/{name}" is not part of this installation'
        raise Failed(Failure("file_missing", message, "reinstall deltakeep", exit_code=EXIT_NOT_FOUND))
    return file.read_text(encoding="utf-8")


def _write(files: Mapping[str, str], folder: Path, *, force: bool) -> None:
    """Write all files or none: one that is there and differs is overwritten by request only."""
    there = {name: (folder / name).read_text(encoding="utf-8") for name in files if (folder / name).is_file()}
    differing = [name for name in there if there[name] != files[name]]
    if differing and not force:
        message = f'"{folder / differing[0]}" is there already and differs; nothing was written'
        hint = "compare them, then repeat with --force, or name another folder"
        raise Failed(Failure("already_there", message, hint, exit_code=EXIT_CONFLICT))
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        show_line(f"  {file}", GREEN if name not in there or name in differing else "")
