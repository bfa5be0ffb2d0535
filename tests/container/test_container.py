"""What is in `container/`: linters and schemas accept it, and its files agree with each other and with the daemon.

That the image runs is proved by `container/prove.sh` (`make prove-container`): it builds and takes minutes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from daemon.cli.application import VERBS
from daemon.lifecycle import DRAIN_MS
from registry.project import ProjectSettings, parse_project_file
from tests.sources import ROOT

FOLDER = ROOT / "container"
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
SCRIPTS = Path(sys.executable).parent
PATHS = {"startupProbe": "/-/started", "readinessProbe": "/-/ready", "livenessProbe": "/-/healthy"}


def command(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def instructions(name: str) -> list[str]:
    joined = CONTAINERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.split(" ")[0] == name]


def settings(text: str) -> ProjectSettings:
    problems: list[Any] = []
    found = parse_project_file(text, Path("/project"), {}, problems)
    assert not problems
    assert found is not None
    return found


def documents(name: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((FOLDER / name).read_text()) if one]


def manifest(kind: str) -> dict[str, Any]:
    (found,) = (one for one in documents("kubernetes.yaml") if one["kind"] == kind)
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("StatefulSet")["spec"]["template"]["spec"]
    return found


def compose() -> dict[str, Any]:
    (found,) = documents("compose.yaml")
    return found


# --- linters and schemas ---


def test_the_linter_has_nothing_to_say_about_the_containerfile() -> None:
    assert command(str(SCRIPTS / "hadolint"), "--no-color", "container/Containerfile") == (0, "")


def test_the_linter_would_say_something(tmp_path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text(CONTAINERFILE.replace("--no-install-recommends ", ""))
    assert "DL3015" in command(str(SCRIPTS / "hadolint"), "--no-color", str(bad))[1]


def test_the_manifest_is_what_kubernetes_takes(tmp_path: Path) -> None:
    code, told = command(str(SCRIPTS / "kubernetes-validate"), "--strict", "container/kubernetes.yaml")
    assert code == 0, told
    bad = tmp_path / "kubernetes.yaml"
    bad.write_text((FOLDER / "kubernetes.yaml").read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert command(str(SCRIPTS / "kubernetes-validate"), "--strict", str(bad))[0] != 0


def test_the_compose_file_is_what_compose_takes() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    parsed = compose_spec.PyCompose.from_yaml(text)
    parsed.validate()
    with pytest.raises(ValueError, match="read_onlly"):
        compose_spec.PyCompose.from_yaml(text.replace("read_only: true", "read_onlly: true", 1))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    text = (FOLDER / "compose" / "prometheus.yml").read_text()
    local = tmp_path / "prometheus.yml"
    local.write_text(text.replace("/etc/prometheus/deltakeep", str(ROOT / "grafana")))
    code, told = command("promtool", "check", "config", str(local))
    assert code == 0, told


# --- the image ---


def test_the_image_runs_as_a_user_without_a_name_and_writes_to_two_places() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert "install -d -o 10001 -g 10001 -m 0750 /var/lib/deltakeep /var/cache/deltakeep" in CONTAINERFILE
    project = settings((FOLDER / "deltakeep.toml").read_text())
    state, cache = "file:///var/lib/deltakeep/", Path("/var/cache/deltakeep")
    assert project.store.uri.startswith(state)
    assert project.targets.uri.startswith(state)
    assert project.engine.spill.is_relative_to(cache)
    assert project.daemon.socket.is_relative_to(cache)
    assert f"TMPDIR={cache}" in CONTAINERFILE
    # Left to the limits of the container.
    assert project.engine.memory_from == project.engine.partitions_from == "default"


def test_the_image_starts_the_daemon_itself_and_asks_it_for_its_health() -> None:
    (entry,) = instructions("ENTRYPOINT")
    assert json.loads(entry) == ["deltakeep", "-C", "/project", "--log", "json"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    (check,) = instructions("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert words[0] == "daemonctl"
    assert words[-1] in VERBS
    assert settings((FOLDER / "deltakeep.toml").read_text()).daemon.log == "json"


def test_the_image_holds_what_was_tested() -> None:
    assert "--constraint /wheels/constraints.txt" in CONTAINERFILE
    assert "python3.11" in CONTAINERFILE


# --- kubernetes and compose ---


def test_each_probe_asks_what_it_is_for() -> None:
    (container,) = pod()["containers"]
    assert {name: container[name]["httpGet"]["path"] for name in PATHS} == PATHS
    (port,) = container["ports"]
    assert all(container[name]["httpGet"]["port"] == port["name"] for name in PATHS)
    project = settings(manifest("ConfigMap")["data"]["deltakeep.toml"])
    assert project.daemon.listen == f"0.0.0.0:{port['containerPort']}"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600


def test_a_stop_has_more_time_than_the_drain_takes() -> None:
    assert pod()["terminationGracePeriodSeconds"] * 1000 >= DRAIN_MS + 15_000
    assert compose()["services"]["deltakeep"]["stop_grace_period"] == "60s"


def test_pod_and_compose_are_as_narrow_as_the_image_allows() -> None:
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert f"{pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}" == "10001:10001"
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/deltakeep", "/var/cache/deltakeep"}
    service = compose()["services"]["deltakeep"]
    assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "10001:10001")
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_the_project_of_the_manifest_is_sound() -> None:
    data = manifest("ConfigMap")["data"]
    project, shipped = settings(data["deltakeep.toml"]), settings((FOLDER / "deltakeep.toml").read_text())
    assert (project.store, project.targets, project.engine) == (shipped.store, shipped.targets, shipped.engine)
    assert project.daemon == shipped.daemon
    (volume,) = (one for one in pod()["volumes"] if one["name"] == "project")
    assert {item["key"] for item in volume["configMap"]["items"]} == set(data)
    assert {item["path"] for item in volume["configMap"]["items"]} >= {"deltakeep.toml"}


def test_compose_mounts_files_that_exist() -> None:
    services = compose()["services"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    files = [one for one in mounted if one.startswith(".") and one != "./project"]
    assert len(files) == 5
    assert not [one for one in files if not (FOLDER / one).exists()]
    assert all(":" in service["image"].rpartition("/")[2] for service in services.values())
