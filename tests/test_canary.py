"""Secrets are planted wherever the project takes one; then everything that comes out is searched for them.

A canary is looked for as it is, quoted for a URL, escaped for JSON, and in base64 at each of the three positions.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pytest

from daemon.cli.application import VERBS, run
from daemon.client import DaemonClient
from daemon.failure import Failed
from daemon.operations import OPERATIONS
from registry.artifact_rows import ArtifactTable
from tests.workspace import Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
ROWS: Final = [{"id": 1, "city": "Rome", "amount": 10}, {"id": 2, "city": "Oslo", "amount": 20}]
PATIENCE_S: Final = 60

WRITTEN: Final = "canary7-written/+&q?"
"""Stands in `deltakeep.toml`."""
RESOLVED: Final = "canary7-resolved/+&q?"
"""Stands in the environment; the project file names its variable."""
FOUND: Final = "canary7-found/+&q?"
"""Stands in the environment under a name that stores read by themselves."""
CANARIES: Final = {
    "written": WRITTEN,
    "resolved": RESOLVED,
    "found": FOUND,
}
HOOK: Final = "http://127.0.0.1:9/services/canary7-hook"
"""The address of a webhook that nobody answers at; who knows it may post there."""
ENVIRONMENT: Final = {
    "SHOP_TOKEN": RESOLVED,
    "SHOP_WHERE": RESOLVED,
    "SHOP_HOOK": HOOK,
    "AWS_SECRET_ACCESS_KEY": FOUND,
}
SETTINGS: Final = f"""
[daemon]
listen = "127.0.0.1:0"

[notifications.ops]
url = "env:SHOP_HOOK"
secret = "{WRITTEN}"
headers = {{ Authorization = "env:SHOP_TOKEN" }}

[notifications.other]
url = "http://127.0.0.1:9/services/{WRITTEN}"
secret = "env:SHOP_TOKEN"

[lineage]
transport = "console"
api_key = "{WRITTEN}"

[tracing]
exporter = "console"
headers = {{ X-Key = "{RESOLVED}" }}

[datasets.remote]
uri = "s3://bucket/orders"
description = "cannot be reached"
[datasets.remote.storage_options]
aws_access_key_id = "{WRITTEN}"
aws_secret_access_key = "env:SHOP_TOKEN"
aws_session_token = "env:SHOP_TOKEN"
aws_region = "env:SHOP_WHERE"

[datasets.lost]
uri = "lake/lost"
storage_options = {{ azure_storage_account_key = "{WRITTEN}" }}
"""


def needles() -> set[bytes]:
    found: set[bytes] = set()
    for canary in CANARIES.values():
        texts = {canary, quote(canary), quote(canary, safe=""), quote_plus(canary), json.dumps(canary)[1:-1]}
        found |= {text.encode() for text in texts}
        for before in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                # Whole groups of the canary alone: what stands around it cannot change them.
                inner = encode(b"x" * before + canary.encode())
                found.add(inner[4 if before else 0 : -4])
    return found


NEEDLES: Final = needles()


def assert_clean(text: str | bytes, where: str) -> None:
    data = text.encode() if isinstance(text, str) else text
    seen = [needle for needle in NEEDLES if needle in data]
    if b"canary7" in data.lower():
        seen.append(b"canary7")
    assert not seen, f"{where} shows {seen}: {data[:2000]!r}"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project with a secret in each place that takes one, and views that fail in each way that tells texts."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    workspace = Workspace(tmp_path)
    workspace.settings = SETTINGS
    workspace.dataset("orders", ORDERS, ROWS)
    options = f'storage_options = {{ secret_key = "{WRITTEN}", other = "env:SHOP_TOKEN" }}'
    original = workspace.configure

    def configure() -> None:
        original()
        file = tmp_path / "deltakeep.toml"
        text = file.read_text().replace('targets = "views_out"', f'targets = "views_out"\n{options}')
        file.write_text(text.replace('uri = "lake/orders"', f'uri = "lake/orders"\n{options}'))

    monkeypatch.setattr(Workspace, "configure", lambda self: configure())
    workspace.configure()
    workspace.view("cities", "SELECT city, sum(amount) AS amount FROM orders GROUP BY city")
    workspace.view("far", "SELECT id FROM remote")
    workspace.view("gone", "SELECT id FROM lost")
    workspace.view("wrong", "SELECT CAST(city AS INT) AS n FROM orders")
    # A message of the engine that quotes what it was given, as one of a store would.
    for number, canary in enumerate(CANARIES.values()):
        workspace.view(f"quoted_{number}", f'SELECT "{canary}" AS x FROM orders')
    return workspace


# Stands for a folder below the project.
EXPORTED: Final = "EXPORTED"
COMMANDS: Final = [
    ["check"],
    ["doctor"],
    ["run", "--once"],
    ["refresh", "wrong"],
    ["refresh", "cities", "--recompute"],
    ["replan", "view", "cities"],
    ["replan", "view", "quoted_0"],
    ["pause", "cities", "--reason", "looking"],
    ["resume", "cities"],
    ["status"],
    ["views"],
    ["lineage"],
    ["lineage", "cities"],
    ["history"],
    ["why", "cities"],
    ["why", "wrong"],
    ["why", "far"],
    ["explain", "cities", "--physical"],
    ["preview"],
    ["preview", "--dataset", "orders", "--exact"],
    ["verify", "--all"],
    ["verify", "--all", "--digest"],
    ["requests"],
    ["top", "--once"],
    ["health"],
    ["token", "create", "someone", "--role", "read"],
    ["token", "list"],
    ["token", "revoke", "someone"],
    ["export", "prometheus", EXPORTED],
    ["export", "systemd", EXPORTED],
    ["query", f'SELECT "{WRITTEN}" FROM orders'],
    ["log-level"],
    ["support-bundle", "--list"],
    ["reload"],
    ["version"],
    *(["query", f"SELECT * FROM deltakeep.{table.value}"] for table in ArtifactTable),
]


@pytest.mark.slow
def test_no_command_and_no_file_shows_a_secret(
    planted: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = {"init", "demo"}
    for command in COMMANDS:
        spoken.add(command[0])
        for form in ([], ["-o", "json"]):
            monkeypatch.setenv("DELTAKEEP_TRACEBACK", "1" if not form else "")
            folder = str(planted.root / "state" / "exported")
            run(["-C", str(planted.root), *[folder if one is EXPORTED else one for one in command], *form])
            said = capsys.readouterr()
            assert_clean(said.out + said.err, " ".join([*command, *form]))
    assert spoken == set(VERBS), "a command is not tried"
    bundle = planted.root / "bundle.tar.gz"
    assert run(["-C", str(planted.root), "support-bundle", "-y", str(bundle)]) == 0
    assert_bundle_clean(bundle)
    assert_files_clean(planted)


def assert_bundle_clean(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    names = set()
    with tarfile.open(file) as archive:
        for entry in archive.getmembers():
            found = archive.extractfile(entry)
            assert found is not None
            names.add(entry.name.partition("/")[2])
            assert_clean(found.read(), entry.name)
    assert {"project.toml", "status.json", "doctor.json", "history.json", "plans.json", "machine.json"} <= names


def assert_files_clean(planted: Workspace) -> None:
    """Fail if anything that was written below the project has one; the definitions are where they were planted."""
    looked = 0
    for path in planted.root.rglob("*"):
        below = path.relative_to(planted.root).parts
        if path.is_file() and below[0] in {"state", "views_out", "lake"}:
            assert_clean(path.read_bytes(), "/".join(below))
            looked += 1
    assert looked > 20


@contextmanager
def daemon(root: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], DaemonClient, str]]:
    """A daemon that logs everything to a file; gives its process, its control socket and its public address."""
    program = "import sys; from daemon.cli import main; sys.argv[0] = 'daemonctl'; main()"
    port = free_port()
    arguments = ["-C", str(root), "run", "--log", "json", "--log-level", "debug", "--listen", f"127.0.0.1:{port}"]
    with log.open("wb") as stream:
        started = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=stream, stdout=stream)
    client = DaemonClient(root / "state" / "deltakeep.sock", timeout_s=PATIENCE_S)
    try:
        wait_for(log, '"after": "running"', started)
        yield started, client, f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.wait(PATIENCE_S)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(log: Path, text: str, started: subprocess.Popen[bytes]) -> None:
    for _ in range(PATIENCE_S * 50):
        if text in log.read_text():
            return
        assert started.poll() is None, log.read_text()
        try:
            started.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


PARAMETERS: Final[dict[str, dict[str, object]]] = {
    "why": {"view": "wrong"},
    "explain": {"view": "cities"},
    "query": {"sql": f'SELECT "{FOUND}" FROM orders'},
    "refresh": {"views": ["wrong", "cities"]},
    "replan": {"views": ["quoted_1"]},
    "pause": {"view": "cities", "reason": "looking"},
    "resume": {"view": "cities"},
    "log_level": {"level": "debug"},
}


@pytest.mark.slow
def test_no_answer_no_metric_and_no_line_of_the_daemon_shows_a_secret(planted: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    with daemon(planted.root, log) as (started, client, address):
        wait_for(log, '"refresh failed"', started)
        wait_for(log, "openlineage", started)
        for name in OPERATIONS:
            events: list[object] = []
            try:
                answer = client.call(name, PARAMETERS.get(name, {}), events.append)
            except Failed as error:
                answer = error.failure.to_json()
            assert_clean(json.dumps([answer, events], ensure_ascii=False), name)
        console = [f"/v1/console/{page}" for page in ("overview", "relations", "relation?name=cities", "graph")]
        for path in ("/metrics", "/-/healthy", "/-/ready?verbose", "/nosuch", "/v1/daemon", *console):
            try:
                with urllib.request.urlopen(address + path, timeout=PATIENCE_S) as response:
                    assert_clean(response.read(), path)
            except urllib.error.HTTPError as error:
                with error:
                    assert_clean(error.read(), path)
        (planted.root / "views" / "late.sql").write_text(f'SELECT "{RESOLVED}" FROM orders')
        started.send_signal(signal.SIGHUP)
        planted.datasets["orders"].append([{"id": 3, "city": "Rome", "amount": 30}])
        wait_for(log, '"reload failed', started)
        started.send_signal(signal.SIGUSR1)
        wait_for(log, '"event": "stack"', started)
        bundle = tmp_path / "bundle.tar.gz"
        assert run(["-C", str(planted.root), "-q", "support-bundle", "-y", str(bundle)]) == 0
        assert_bundle_clean(bundle)
        with tarfile.open(bundle) as archive:
            assert {"deltakeep-support/log.jsonl", "deltakeep-support/stacks.txt"} <= set(archive.getnames())
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 0
    told = log.read_text()
    for word in ('"level": "debug"', '"not delivered"', "openlineage", '"trace_id"'):
        assert word in told, word
    assert_clean(log.read_bytes(), "the log")
    assert_files_clean(planted)


def test_the_search_finds_what_it_is_for() -> None:
    """The needles themselves: a search that finds nothing anywhere would pass every test above."""
    for canary in CANARIES.values():
        for text in (canary, quote(canary, safe=""), base64.b64encode(f"u:{canary}".encode()).decode()):
            with pytest.raises(AssertionError):
                assert_clean(f"<{text}>", "a text")
    assert_clean("nothing here", "a text")
    with pytest.raises(AssertionError):
        assert_clean(f"no answer from {HOOK}", "a text")
    assert os.environ.get("SHOP_TOKEN") is None
