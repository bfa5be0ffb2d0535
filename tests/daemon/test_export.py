"""`daemonctl export`: what it writes, what it refuses, and that the wheel has it."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from daemon.cli.application import run
from daemon.cli.export import GRAFANA_FILES, PROMETHEUS_FILES, RUNBOOKS
from daemon.place import DEFAULT_LISTEN
from tests.sources import ROOT

KIT = ROOT / "grafana"


def written(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_prometheus_gets_rules_and_a_configuration_as_they_are_in_the_repository(tmp_path: Path) -> None:
    assert run(["export", "prometheus", str(tmp_path / "new")]) == 0
    assert written(tmp_path / "new") == {name: (KIT / name).read_text() for name in PROMETHEUS_FILES}


def test_grafana_gets_the_dashboards_as_they_are_in_the_repository(tmp_path: Path) -> None:
    assert run(["export", "grafana", str(tmp_path)]) == 0
    assert written(tmp_path) == {Path(name).name: (KIT / name).read_text() for name in GRAFANA_FILES}


def test_the_base_of_the_pages_and_the_address_of_the_daemon_are_chosen(tmp_path: Path) -> None:
    options = ["--runbooks", "https://wiki.example/keep/", "--target", "keeper:9999"]
    assert run(["export", "prometheus", str(tmp_path), *options]) == 0
    files = written(tmp_path)
    alerts = files["rules/deltakeep-alerts.yml"]
    assert f"runbook_url: {RUNBOOKS}" not in alerts
    assert "runbook_url: https://wiki.example/keep/alert-daemon-down.md\n" in alerts
    assert '"keeper:9999"' in files["prometheus.yml"]
    assert DEFAULT_LISTEN not in files["prometheus.yml"]


def test_a_file_that_differs_is_overwritten_by_request_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "grafana", str(tmp_path)]) == 0
    changed = tmp_path / "deltakeep-view.json"
    changed.write_text("mine")
    (tmp_path / "deltakeep-overview.json").unlink()
    capsys.readouterr()
    assert run(["export", "grafana", str(tmp_path)]) == 6
    assert "deltakeep-view.json" in capsys.readouterr().err
    assert changed.read_text() == "mine"
    assert not (tmp_path / "deltakeep-overview.json").exists()
    assert run(["export", "grafana", str(tmp_path), "--force"]) == 0
    assert changed.read_text() != "mine"


def test_exporting_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        assert run(["export", "prometheus", str(tmp_path)]) == 0


def test_everything_that_is_made_is_exported() -> None:
    made = {path.relative_to(KIT).as_posix() for kind in ("*.json", "*.yml") for path in KIT.rglob(kind)}
    assert made == {*PROMETHEUS_FILES, *GRAFANA_FILES}


@pytest.mark.parametrize("name", [*PROMETHEUS_FILES, *GRAFANA_FILES])
def test_the_wheel_has_what_is_exported(name: str) -> None:
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["maturin"]["include"]
    found = [one["format"] for one in included if fnmatch(f"grafana/{name}", one["path"])]
    assert found == [["sdist", "wheel"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")
def test_promtool_accepts_what_is_exported(tmp_path: Path) -> None:
    assert run(["export", "prometheus", str(tmp_path), "--target", "keeper:9999"]) == 0
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
