"""The units that `daemonctl export systemd` makes for a project."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.cli.application import run
from daemon.unit_files import CannotExport, Site, places_of_others, shipped, site_of, unit_files

SITE = Site(
    name="web_shop",
    root=Path("/srv/shop"),
    commands=Path("/opt/deltakeep/bin"),
    user="keeper",
    group="readers",
    socket=Path("/run/shop/control.sock"),
    writable=(Path("/run/shop"), Path("/srv/lake/my views"), Path("/var/lib/shop")),
    reads=(Path("/usr"),),
)


def units(site: Site) -> tuple[str, str]:
    made = unit_files(site, shipped("deltakeep.service"), shipped("deltakeep.socket"))
    assert list(made) == ["deltakeep-web-shop.service", "deltakeep-web-shop.socket"]
    service, socket = made.values()
    return service, socket


def settings(unit: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def verified(folder: Path, site: Site, threshold: int) -> None:
    for name, text in unit_files(site, shipped("deltakeep.service"), shipped("deltakeep.socket")).items():
        (folder / name).write_text(text)
    service = str(folder / "deltakeep-web-shop.service")
    for command in (["verify", "--man=no"], ["security", "--offline=yes", "--no-pager", f"--threshold={threshold}"]):
        done = subprocess.run(["systemd-analyze", *command, service], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert command[0] != "verify" or not done.stderr


def test_a_unit_may_write_where_its_project_writes_and_nowhere_else() -> None:
    service, socket = units(SITE)
    assert settings(service, "ReadWritePaths") == ['"-/srv/lake/my views"', "-/var/lib/shop"]
    assert settings(service, "RuntimeDirectory") == ["shop"]
    # A socket elsewhere needs no folder below /run either.
    elsewhere, _ = units(replace(SITE, socket=Path("/var/lib/shop/control.sock")))
    assert "RuntimeDirectory" not in elsewhere
    for name in ("StateDirectory", "CacheDirectory", "ConfigurationDirectory", "StateDirectoryMode"):
        assert not settings(service, name)
    assert settings(service, "ExecStart") == ["/opt/deltakeep/bin/deltakeep -C /srv/shop"]
    assert settings(service, "ExecReload") == ["/opt/deltakeep/bin/daemonctl -C /srv/shop reload"]
    assert settings(service, "User") == settings(socket, "SocketUser") == ["keeper"]
    assert settings(service, "Group") == settings(socket, "SocketGroup") == ["readers"]
    assert settings(socket, "ListenStream") == ["/run/shop/control.sock"]
    assert settings(service, "ProtectHome") == settings(service, "PrivateTmp") == ["yes"]
    assert not settings(service, "LoadCredential")
    assert settings(service, "Environment") == [
        '"PATH=/opt/deltakeep/bin:/usr/local/bin:/usr/bin:/bin"',
        "PYTHONUNBUFFERED=1",
    ]


def test_every_other_line_is_the_shipped_one() -> None:
    service, _ = units(SITE)
    before, after = shipped("deltakeep.service").splitlines(), service.splitlines()
    changed = {line.partition("=")[0] for line in after if line not in before and not line.startswith("#")}
    assert changed == {
        *("Description", "Environment", "SyslogIdentifier", "ExecStartPre", "ExecStart", "ExecReload"),
        *("User", "Group", "RuntimeDirectory", "ReadWritePaths"),
    }


def test_homes_and_temporary_folders_are_seen_only_where_they_are_needed() -> None:
    at_home, _ = units(replace(SITE, root=Path("/home/ann/shop")))
    assert settings(at_home, "ProtectHome") == ["read-only"]
    assert settings(at_home, "PrivateTmp") == ["yes"]
    passing, _ = units(replace(SITE, writable=(Path("/var/tmp/shop"),)))
    assert settings(passing, "PrivateTmp") == ["no"]


def test_secrets_are_loaded_by_their_names() -> None:
    service, _ = units(replace(SITE, credentials=("lake-key",), variables=("SHOP_KEY",)))
    assert settings(service, "LoadCredential") == ["lake-key:/srv/shop/credentials/lake-key"]
    assert settings(service, "EnvironmentFile") == ["/etc/deltakeep/deltakeep-web-shop.env"]


def test_a_socket_that_the_kernel_does_not_take_is_refused() -> None:
    with pytest.raises(CannotExport, match="107 bytes"):
        units(replace(SITE, socket=Path("/srv") / ("x" * 110) / "control.sock"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units_and_scores_them_as_the_shipped_ones(tmp_path: Path) -> None:
    # Only commands that exist are accepted.
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("deltakeep", "daemonctl"):
        (commands / name).write_text("#!/bin/sh\n")
        (commands / name).chmod(0o755)
    site = replace(SITE, user="root", group="root", commands=commands, root=Path("/srv/100% shop"))
    # They lie among temporary files here, which costs two tenths.
    verified(tmp_path, site, 17)


PROJECT = """[project]
name = "web_shop"
store = "state"
targets = "out"
storage_options = { secret = "credential:lake-key", other = "env:SHOP_KEY" }

[datasets.orders]
uri = "lake/orders"

[engine]
spill = "state/spill"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "views").mkdir(parents=True)
    (root / "deltakeep.toml").write_text(PROJECT)
    (root / "views" / "paid.sql").write_text('/*\ntarget = "elsewhere/paid"\n*/\nSELECT * FROM orders')
    return root


def test_a_site_is_found_without_the_secrets_of_its_project(project: Path) -> None:
    site = site_of(project, None, None)
    assert site.writable == (project / "elsewhere" / "paid", project / "out", project / "state")
    assert site.socket == project / "state" / "deltakeep.sock"
    assert (site.credentials, site.variables) == (("lake-key",), ("SHOP_KEY",))
    assert site.user == getpass.getuser()
    with pytest.raises(CannotExport, match="nosuch"):
        site_of(project, "nosuch", None)


def test_the_command_writes_both_units_and_overwrites_nothing_that_differs(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "units"
    command = ["-C", str(project), "export", "systemd", str(out)]
    assert run(command) == 0
    told = capsys.readouterr().out
    assert "systemctl enable --now deltakeep-web-shop.socket deltakeep-web-shop.service" in told
    assert str(project / "credentials") in told
    assert sorted(path.name for path in out.iterdir()) == ["deltakeep-web-shop.service", "deltakeep-web-shop.socket"]
    assert run(command) == 0
    (out / "deltakeep-web-shop.socket").write_text("mine")
    assert run(command) == 6
    assert (out / "deltakeep-web-shop.socket").read_text() == "mine"
    assert run([*command, "--force"]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_places_that_another_user_has_filled_are_told(project: Path) -> None:
    site = site_of(project, "nobody", "root")
    assert places_of_others(site) == ()
    (project / "state").mkdir()
    shutil.chown(project / "state", "nobody")
    assert places_of_others(site) == ()
    (project / "state" / "refreshes").mkdir()
    assert places_of_others(site) == (project / "state",)
