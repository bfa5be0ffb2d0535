"""The units under a real systemd: start, sandbox, cycle, reload, kill, drain, watchdog, configuration, credentials.

systemd is process 1 of namespaces of its own (`machine.py`), so every directive of the units is in force as systemd
makes it.  What is not tried there: `DevicePolicy`, `MemoryMax` and `CPUQuota` (they need controllers that the kernel
may have given to cgroup v1); `LimitNOFILE` beyond what the machine around allows (it needs a capability that this one
may not have); and `SystemCallArchitectures` on other processors than x86-64.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import SystemClock
from daemon.scaffold import make_project, sample_orders
from registry.dataset import TableRef
from registry.native import AppendRequest
from registry.session import RuntimeProfile, build_session_runtime
from tests.sources import ROOT
from tests.systemd.machine import PREFIX, Machine, machine, unit_files, why_not

SERVICE = "deltakeep.service"
NOT_HERE = why_not()
pytestmark = [pytest.mark.skipif(bool(NOT_HERE), reason=NOT_HERE), pytest.mark.slow]

DATASET = '\n[datasets.orders]\nuri = "/srv/lake/orders"\npoll = "1s"\n'
SECRET = "hunter2-under-systemd"
# Takes about a second for each million of pairs of pairs, and is what a stop finds in hand.
SLOW_VIEW = """/*
refresh = "recompute"
*/
SELECT count(*) AS pairs FROM orders a CROSS JOIN orders b CROSS JOIN orders c CROSS JOIN orders d
WHERE (a.amount * b.amount + c.amount * d.amount) % 7 = 3 AND d.order_id < 4
"""


@dataclass(frozen=True)
class Kept:
    """The machine and the table that the project in it watches."""

    machine: Machine
    lake: Path

    def append(self) -> None:
        """Somebody else writes orders."""
        runtime = build_session_runtime(RuntimeProfile())
        table = TableRef(uri=(self.lake / "orders").as_uri())
        runtime.append(AppendRequest(table=table), next(iter(sample_orders())))

    def rows(self) -> int:
        """Orders that count, in the view and by the query."""
        answer = self.machine.ask("query", "SELECT count(*) FROM orders_clean")
        return int(answer["rows"][0][0])

    def start_in_sandbox(self, program: str) -> None:
        """Run a program to its end as `probe.service`, which is the service but for what it starts."""
        unit = (ROOT / "systemd" / SERVICE).read_text().replace("Type=notify", "Type=oneshot")
        lines = [f"ExecStart={program}" if line.startswith("ExecStart=") else line for line in unit.splitlines()]
        text = "\n".join(line for line in lines if "Restart=" not in line)
        self.machine.write("/run/systemd/system/probe.service", text)
        self.machine.systemctl("daemon-reload")
        self.machine.systemctl("start", "probe.service")

    def right(self) -> bool:
        return bool(self.machine.ask("verify", "--all")["equal"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("machine")
    # Others have to be able to read what this user writes.
    for one in (folder, *folder.parents[:2]):
        one.chmod(0o755)
    made = folder / "made"
    make_project(made, SystemClock().now_ms())
    unit_files(folder)
    probe = folder / "files" / PREFIX / "probe.py"
    probe.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "systemd" / "sandbox_probe.py", probe)
    configuration = (ROOT / "systemd" / "deltakeep.toml").read_text() + DATASET
    main = folder / "files" / "etc" / "deltakeep"
    shop = main / "shop"
    (shop / "views").mkdir(parents=True)
    shutil.copytree(made / "views", main / "views")
    (main / "deltakeep.toml").write_text(configuration)
    for kind in ("/var/lib", "/var/cache", "/run"):
        configuration = configuration.replace(f'"{kind}/deltakeep/', f'"{kind}/deltakeep/shop/')
    (shop / "deltakeep.toml").write_text(configuration.replace("9187", "9188").replace('"main"', '"shop"'))
    (shop / "views" / "pairs.sql").write_text(SLOW_VIEW)
    with machine(folder, made / "lake") as booted:
        booted.run("touch", "/tmp/seen")
        # Five seconds between two starts are right for a service, and long for a test.
        for name in ("deltakeep.service.d", "deltakeep@.service.d"):
            booted.write(f"/run/systemd/system/{name}/hasty.conf", "[Service]\nRestartSec=100ms\n")
        yield Kept(booted, made / "lake")


@pytest.fixture
def stopped(kept: Kept) -> Kept:
    """Nothing runs, and nothing is remembered of failures."""
    kept.machine.systemctl("stop", "deltakeep.socket", SERVICE)
    kept.machine.systemctl("reset-failed")
    return kept


@pytest.fixture
def running(kept: Kept) -> Kept:
    """The service with its socket, every view fresh."""
    kept.machine.systemctl("start", "deltakeep.socket", SERVICE)
    kept.machine.until(SERVICE, ActiveState="active", StatusText="2 views: 2 fresh")
    return kept


def test_the_first_command_starts_the_service_through_its_socket(stopped: Kept) -> None:
    one = stopped.machine
    one.systemctl("start", "deltakeep.socket")
    # Nobody has started the service: the command does, and waits for it.
    assert one.ask("status")["daemon"]["state"] == "running"
    assert one.run("stat", "-c", "%a %U %G", "/run/deltakeep/control.sock") == "660 deltakeep deltakeep\n"
    refused = one.run("daemonctl", "-C", "/etc/deltakeep", "status", expect=4, user="nobody")
    assert "owner and its group" in refused


def test_the_sandbox_bites_and_the_daemon_keeps_views_in_it(running: Kept) -> None:
    one = running.machine
    ipc = one.run("readlink", "/proc/self/ns/ipc").strip()
    limits = one.run("cat", "/proc/1/limits").splitlines()
    files_max = next(line.split()[4] for line in limits if line.startswith("Max open files"))
    running.start_in_sandbox(f"/{PREFIX}/bin/python /{PREFIX}/probe.py {ipc} {files_max}")
    found = next(json.loads(line) for line in one.journal("probe.service").splitlines() if line.startswith("{"))
    assert not [directive for directive, bites in found.items() if not bites]
    # The daemon itself is in the same sandbox, with the native module loaded.
    main = one.show(SERVICE)
    for setting in ("MemoryDenyWriteExecute", "PrivateUsers", "NoNewPrivileges", "RestrictSUIDSGID", "LockPersonality"):
        assert main[setting] == "yes", setting
    status = one.run("cat", f"/proc/{main['MainPID']}/status")
    assert all(line in status for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"))
    assert running.right()


def test_what_the_service_shares_with_other_processes_goes_when_it_stops(stopped: Kept) -> None:
    one = stopped.machine
    try:
        # Seen from inside while it runs, and gone when the last unit of the user has stopped.
        stopped.start_in_sandbox("/bin/sh -c 'echo kept > /dev/shm/of-the-service && cat /dev/shm/of-the-service'")
        assert "kept" in one.journal("probe.service")
        assert "of-the-service" not in one.run("ls", "/dev/shm")
        one.drop_in("probe.service", "[Service]\nRemoveIPC=no\n")
        one.systemctl("start", "probe.service")
        assert "of-the-service" in one.run("ls", "/dev/shm"), "it is RemoveIPC= that takes it away"
    finally:
        one.drop_in("probe.service", "")
        one.run("rm", "-f", "/dev/shm/of-the-service")


def test_a_cycle_a_reload_and_a_kill_are_survived(running: Kept) -> None:
    one, before = running.machine, running.rows()
    restarts = int(one.show(SERVICE)["NRestarts"])
    running.append()
    one.until(SERVICE, StatusText="2 views: 2 fresh")
    # A command that asks for a refresh comes after whatever the watcher has begun.
    one.ask("refresh", "orders_by_day")
    assert running.rows() > before
    one.systemctl("reload", SERVICE)
    one.write("/etc/deltakeep/views/broken.sql", "SELECT FROM")
    assert "failed" in one.systemctl("reload", SERVICE, expect=1)
    one.until(SERVICE, ActiveState="active", StatusText="2 views: 2 fresh; definitions on disk are broken")
    one.run("rm", "/etc/deltakeep/views/broken.sql")
    one.systemctl("reload", SERVICE)
    one.systemctl("kill", "--signal=KILL", SERVICE)
    # The command waits at the socket until the next daemon answers.
    assert running.right()
    found = one.until(SERVICE, ActiveState="active", StatusText="2 views: 2 fresh")
    assert int(found["NRestarts"]) == restarts + 1


def test_a_daemon_that_hangs_is_replaced_by_the_watchdog(running: Kept) -> None:
    one = running.machine
    one.drop_in(SERVICE, "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n")
    try:
        one.systemctl("restart", SERVICE)
        before = one.until(SERVICE, ActiveState="active", StatusText="2 views: 2 fresh")
        # One that turns is left alone for longer than the watchdog waits.
        one.run("sleep", "5")
        assert {name: one.show(SERVICE)[name] for name in ("MainPID", "NRestarts")}.items() <= before.items()
        one.systemctl("kill", "--signal=STOP", SERVICE)
        one.until(SERVICE, NRestarts=str(int(before["NRestarts"]) + 1), ActiveState="active")
        assert "Watchdog timeout" in one.journal(SERVICE)
    finally:
        one.drop_in(SERVICE, "")


def test_a_configuration_that_is_wrong_is_told_and_not_tried_again(stopped: Kept) -> None:
    one = stopped.machine
    right = one.run("cat", "/etc/deltakeep/deltakeep.toml")
    one.write("/etc/deltakeep/deltakeep.toml", right.replace("poll =", "pol ="))
    try:
        one.systemctl("start", SERVICE, expect=1)
        found = one.until(SERVICE, ActiveState="failed")
        assert (found["ExecMainStatus"], found["NRestarts"]) == ("78", "0")
        assert 'unknown key "datasets.orders.pol"' in one.journal(SERVICE)
    finally:
        one.write("/etc/deltakeep/deltakeep.toml", right)
        one.systemctl("reset-failed")


def test_a_credential_is_read_by_the_service_alone_and_never_told(stopped: Kept) -> None:
    one = stopped.machine
    right = one.run("cat", "/etc/deltakeep/deltakeep.toml")
    wants = 'poll = "1s"\nstorage_options = { secret_access_key = "credential:lake-key" }\n'
    one.write("/etc/deltakeep/deltakeep.toml", right.replace('poll = "1s"\n', wants))
    one.write("/etc/deltakeep/credentials/lake-key", f"{SECRET}\n")
    one.run("chmod", "0600", "/etc/deltakeep/credentials/lake-key")
    try:
        one.systemctl("start", SERVICE, expect=1)
        assert "LoadCredential=lake-key" in one.journal(SERVICE)
        one.drop_in(SERVICE, "[Service]\nLoadCredential=lake-key:/etc/deltakeep/credentials/lake-key\n")
        one.systemctl("start", SERVICE)
        one.until(SERVICE, ActiveState="active", StatusText="2 views: 2 fresh")
        status: Any = one.ask("status", user="deltakeep")
        assert SECRET not in json.dumps(status) + one.journal(SERVICE) + one.run("journalctl", "--no-pager")
    finally:
        one.write("/etc/deltakeep/deltakeep.toml", right)
        one.drop_in(SERVICE, "")
        one.systemctl("stop", SERVICE)
        one.systemctl("reset-failed")


def test_a_stop_drains_what_the_instance_of_another_project_has_in_hand(kept: Kept) -> None:
    one, unit = kept.machine, "deltakeep@shop.service"
    one.systemctl("start", "deltakeep@shop.socket", unit)
    found = one.until(unit, ActiveState="active", StatusText="1 view: 1 running (pairs)")
    assert found["User"] == "deltakeep"
    one.systemctl("stop", unit)
    found = one.show(unit)
    assert (found["ActiveState"], found["Result"], found["ExecMainStatus"]) == ("inactive", "success", "0")
    drained = [json.loads(line) for line in one.journal(unit).splitlines() if line.startswith("{")]
    events = [(line["event"], line.get("after"), line.get("abandoned_work")) for line in drained]
    # Nothing was abandoned, so the refresh was finished while draining; the history says so after the next start.
    assert events[-2:] == [("state changed", "stopped", None), ("stopped", None, False)]
    # The socket is still open: a question starts the project again.
    assert [line["outcome"] for line in one.ask("history", "pairs", project="/etc/deltakeep/shop")][-1] == "committed"
    assert one.ask("verify", "--all", project="/etc/deltakeep/shop")["equal"]
    one.systemctl("stop", unit, "deltakeep@shop.socket")


def test_the_exported_units_of_a_project_keep_it_where_it_lies(stopped: Kept) -> None:
    one, unit = stopped.machine, "deltakeep-web-shop.service"
    one.run("daemonctl", "-q", "init", "/srv/web-shop")
    # As the shop would have it: definitions and tables belong to somebody else than the service.
    told = one.run(
        "daemonctl", "-C", "/srv/web-shop", "export", "systemd", "/etc/systemd/system", "--user", "deltakeep"
    )
    assert f"systemctl enable --now deltakeep-web-shop.socket {unit}" in told
    one.systemctl("daemon-reload")
    one.systemctl("start", "deltakeep-web-shop.socket", unit)
    one.until(unit, ActiveState="active", StatusText="2 views: 2 fresh")
    assert one.ask("verify", "--all", project="/srv/web-shop")["equal"]
    one.systemctl("reload", unit)
    one.systemctl("stop", "deltakeep-web-shop.socket", unit)
    assert one.run("stat", "-c", "%U", "/srv/web-shop/views_out/orders_clean").strip() == "deltakeep"
