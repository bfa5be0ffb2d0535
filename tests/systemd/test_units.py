"""The units as files: systemd accepts them, scores them, and they agree with what lies beside them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registry.project import parse_project_file
from tests.sources import ROOT

FOLDER = ROOT / "systemd"
SERVICES = ["deltakeep.service", "deltakeep@.service"]
UNITS = [*SERVICES, "deltakeep.socket", "deltakeep@.socket"]
EXPOSURE_MAX = "15"
"""Tenths: what `systemd-analyze security` may find at most."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyze(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def settings(unit: str) -> dict[str, str]:
    """The last value of each setting of a unit."""
    lines = (FOLDER / unit).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit_without_a_word(unit: str, tmp_path: Path) -> None:
    # A socket is verified together with the service that it is for.
    for one in UNITS:
        shutil.copy(FOLDER / one, tmp_path)
    name = unit.replace("@", "@shop")
    if "@" in unit:
        (tmp_path / name).symlink_to(unit)
    assert analyze("verify", "--man=no", str(tmp_path / name)) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_the_exposure_of_a_service_is_at_most_one_and_a_half(unit: str) -> None:
    code, text = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(FOLDER / unit))
    assert code == 0, text


@needs_systemd
def test_the_score_would_fail_without_the_sandbox(tmp_path: Path) -> None:
    text = (FOLDER / "deltakeep.service").read_text()
    bare = "\n".join(line for line in text.splitlines() if not line.startswith(("Protect", "Private", "SystemCall")))
    (tmp_path / "deltakeep.service").write_text(bare)
    unit = str(tmp_path / "deltakeep.service")
    assert analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit)[0] == 1


@pytest.mark.parametrize("unit", SERVICES)
def test_a_wrong_configuration_is_not_tried_again_and_a_stop_has_time_to_drain(unit: str) -> None:
    from daemon.lifecycle import DRAIN_MS
    from registry.errors import EXIT_CONFIGURATION, EXIT_USAGE

    found = settings(unit)
    assert found["Type"] == "notify"
    assert set(found["RestartPreventExitStatus"].split()) == {str(EXIT_CONFIGURATION), str(EXIT_USAGE)}
    assert int(found["TimeoutStopSec"].rstrip("s")) * 1000 > DRAIN_MS + 10_000


def test_the_template_is_the_service_with_an_instance_in_each_path() -> None:
    one, template = (settings(unit) for unit in SERVICES)
    different = {key for key in one.keys() | template.keys() if one.get(key) != template.get(key)}
    folders = {f"{kind}Directory" for kind in ("Configuration", "State", "Cache", "Runtime")}
    assert different == {*folders, "Description", "ExecStart", "ExecReload", "SyslogIdentifier"}
    assert all("%i" in template[key] for key in different)


@pytest.mark.parametrize("name", ["deltakeep", "deltakeep@"])
def test_the_socket_is_where_the_service_and_the_configuration_look(name: str) -> None:
    problems: list[Any] = []
    project = parse_project_file((FOLDER / "deltakeep.toml").read_text(), ROOT, {}, problems)
    assert not problems
    assert project is not None
    path = settings(f"{name}.socket")["ListenStream"]
    assert path.replace("/%i", "") == str(project.daemon.socket)
    assert path.startswith(f"/run/{settings(f'{name}.service')['RuntimeDirectory']}/")
    # The folder of the socket has to outlive the service.
    assert settings(f"{name}.service")["RuntimeDirectoryPreserve"] == "yes"


def test_everything_that_the_configuration_writes_lies_in_folders_of_the_unit() -> None:
    project = parse_project_file((FOLDER / "deltakeep.toml").read_text(), ROOT, {}, [])
    assert project is not None
    folders = ("file:///var/lib/deltakeep/", "file:///var/cache/deltakeep/", "file:///run/deltakeep/")
    places = (project.store.uri, project.targets.uri, project.engine.spill.as_uri(), project.daemon.socket.as_uri())
    assert all(place.startswith(folders) for place in places)


def test_the_lines_of_the_readme_for_a_second_project_make_a_sound_one(tmp_path: Path) -> None:
    readme = (FOLDER / "README.md").read_text()
    start = readme.index("sed -E")
    command = readme[start : readme.index("> /etc/deltakeep/shop/deltakeep.toml", start)].replace("\\\n", " ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=FOLDER)
    problems: list[Any] = []
    project = parse_project_file(done.stdout, ROOT, {}, problems)
    assert not problems
    assert project is not None
    assert (project.name, project.daemon.listen) == ("shop", "127.0.0.1:9188")
    path = settings("deltakeep@.socket")["ListenStream"]
    assert str(project.daemon.socket) == path.replace("%i", "shop")
    assert project.store.uri == "file:///var/lib/deltakeep/shop/state"
    assert project.engine.spill == Path("/var/cache/deltakeep/shop/spill")


def test_the_readme_installs_every_file_of_the_folder() -> None:
    readme = (FOLDER / "README.md").read_text()
    install = readme[readme.index("## Install") : readme.index("## Use")]
    assert not [file.name for file in FOLDER.iterdir() if file.name != "README.md" and file.name not in install]
