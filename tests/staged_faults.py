"""Faults as they happen in production, staged on a small project: one for each page of docs/operations/.

A stage is a generator: what it does before its first `yield` breaks something, what it does after it is what the world
outside does to end it (somebody makes room, a mount comes back); a page marks the place with a block `console after`.
The project: dataset `orders`, the views `cities` and `large` over it, and `top`, which reads `cities`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.cli.application import run
from daemon.client import DaemonClient
from daemon.clock import SystemClock
from daemon.tokens import TokenFile
from tests.grafana.prometheus import free_port
from tests.lake import SourceTable
from tests.workspace import Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
FIRST: Final = [{"id": 1, "city": "Rome", "amount": 10}, {"id": 2, "city": "Oslo", "amount": 20}]
MORE: Final = [{"id": 3, "city": "Rome", "amount": 30}]
CITIES: Final = "SELECT city, sum(amount) AS amount, count(*) AS orders FROM orders GROUP BY city"
LARGE: Final = "SELECT id, city, amount FROM orders WHERE amount > 15"
TOP: Final = "SELECT city, amount FROM cities WHERE amount > 10"
PATIENCE_S: Final = 60


@dataclass(slots=True)
class Site:
    """The project and whatever runs for it."""

    workspace: Workspace

    @property
    def root(self) -> Path:
        return self.workspace.root

    @property
    def orders(self) -> SourceTable:
        return self.workspace.datasets["orders"]

    def cycle(self, *arguments: str) -> int:
        return run(["-C", str(self.root), "-q", *(arguments or ("run", "--once"))])

    def configure(self, old: str, new: str) -> None:
        file = self.root / "deltakeep.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @contextmanager
    def daemon(self, *listening: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon in a process of its own, running by now; without `listening` it serves no TCP."""
        program = "import sys; from daemon.cli import main; sys.argv[0] = 'daemonctl'; main()"
        arguments = ["-C", str(self.root), "-q", "run", *(listening or ("--no-listen",)), "--log", "json"]
        log = self.root / "daemon.log"
        with log.open("wb") as stream:
            started = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=stream)
        try:
            self.wait(started, lambda: '"after": "running"' in log.read_text())
            yield started
        finally:
            started.kill()
            started.wait(PATIENCE_S)

    def wait(self, started: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        for _ in range(PATIENCE_S * 50):
            if condition():
                return
            try:
                started.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError((self.root / "daemon.log").read_text())
        raise AssertionError("it takes too long")

    def until_fresh(self, started: subprocess.Popen[bytes]) -> None:
        client = DaemonClient(self.root / "state" / "deltakeep.sock", PATIENCE_S)

        def fresh() -> bool:
            status = client.call("status", {}, None)
            return all(view["state"] == "fresh" for view in status["views"])

        self.wait(started, fresh)


def make_site(root: Path) -> Site:
    """The project with everything built."""
    workspace = Workspace(root)
    workspace.dataset("orders", ORDERS, FIRST)
    workspace.view("cities", CITIES)
    workspace.view("large", LARGE)
    workspace.view("top", TOP)
    site = Site(workspace)
    assert site.cycle() == 0
    return site


Stage = Callable[[Site], Iterator[None]]


def write_definition(site: Site, view: str, query: str) -> None:
    site.workspace.view(view, query)


def freshness(site: Site) -> Iterator[None]:
    site.configure("[engine]", '[defaults]\ntarget_lag = "100ms"\n\n[engine]')
    site.orders.append(MORE)
    yield


def failing_view(site: Site) -> Iterator[None]:
    write_definition(site, "cities", CITIES.replace("sum(amount)", "sum(CAST(city AS INT))"))
    site.cycle()
    yield
    write_definition(site, "cities", CITIES)


def recompute(site: Site) -> Iterator[None]:
    sets = "SELECT city, sum(amount) AS amount FROM orders GROUP BY GROUPING SETS ((city), ())"
    write_definition(site, "large", sets)
    site.cycle()
    site.orders.append(MORE)
    site.cycle()
    yield
    write_definition(site, "large", "SELECT city, sum(amount) AS amount FROM orders GROUP BY city")


def history_gone(site: Site) -> Iterator[None]:
    site.orders.append(MORE)
    site.orders.append([{"id": 4, "city": "Bern", "amount": 40}])
    site.orders.clean_log(2)
    yield


def retention(site: Site) -> Iterator[None]:
    site.orders.set_property("delta.deletedFileRetentionDuration", "interval 1 minutes")
    site.cycle()
    site.orders.append(MORE)
    yield
    site.orders.set_property("delta.deletedFileRetentionDuration", "interval 14 days")
    site.cycle()


def schema_change(site: Site) -> Iterator[None]:
    renamed = pa.schema([("id", pa.int64()), ("city", pa.string()), ("total", pa.int64())])
    site.orders.replace_schema(renamed, [{"id": 1, "city": "Rome", "total": 10}])
    yield
    write_definition(site, "cities", CITIES.replace("sum(amount)", "sum(total)"))
    write_definition(site, "large", "SELECT id, city, total AS amount FROM orders WHERE total > 15")


def dataset_unreadable(site: Site) -> Iterator[None]:
    hidden = site.orders.path.rename(site.root / "away")
    yield
    hidden.rename(site.orders.path)


def flood(site: Site) -> Iterator[None]:
    for number in range(20):
        site.orders.append([{"id": 100 + number, "city": "Rome", "amount": number}])
    yield


def wrong_data(site: Site) -> Iterator[None]:
    site.orders.append([{"id": 3, "city": "Rome", "amount": 30_000_000}])
    site.cycle()
    yield
    site.orders.restore(0)


def deploy(site: Site) -> Iterator[None]:
    folder = site.root / "next"
    folder.mkdir()
    (folder / "large.sql").write_text("SELECT id, city, amount FROM orders WHERE amount > 5\n")
    yield
    shutil.copy(folder / "large.sql", site.root / "views" / "large.sql")
    site.workspace.views["large"] = (folder / "large.sql").read_text()


def reload_refused(site: Site) -> Iterator[None]:
    with site.daemon() as started:
        site.until_fresh(started)
        (site.root / "views" / "large.sql").write_text("SELECT id, citi FROM orders\n")
        yield
        (site.root / "views" / "large.sql").write_text(LARGE + "\n")
        yield


def stalled(site: Site) -> Iterator[None]:
    with site.daemon() as started:
        site.until_fresh(started)
        started.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            started.send_signal(signal.SIGCONT)
        yield


def memory(site: Site) -> Iterator[None]:
    many = [{"id": number, "city": f"city {number}" * 20, "amount": number} for number in range(40_000)]
    site.orders.append(many)
    site.configure("[engine]", '[engine]\nmemory = "2MB"')
    site.cycle()
    yield
    site.configure('memory = "2MB"', 'memory = "1GB"')


def disk_full(site: Site) -> Iterator[None]:
    for view in site.workspace.views:
        shutil.rmtree(site.workspace.target(view))
    folder = site.root / "views_out"
    options = ["-t", "tmpfs", "-o", "size=200000", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        site.cycle()
        many = [{"id": number, "city": f"city {number}" * 4, "amount": number} for number in range(20_000)]
        site.orders.append(many)
        yield
        subprocess.run(["mount", "-o", "remount,size=8g", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def two_daemons(site: Site) -> Iterator[None]:
    with site.daemon() as started:
        site.until_fresh(started)
        yield


def foreign_writer(site: Site) -> Iterator[None]:
    SourceTable(site.workspace.target("large"), ORDERS).delete("id = 2")
    yield


def store_lost(site: Site) -> Iterator[None]:
    shutil.rmtree(site.root / "state")
    yield


def upgrade(site: Site) -> Iterator[None]:
    firsts = [folder / "_delta_log" / f"{0:020}.json" for folder in (site.root / "state").iterdir()]
    firsts = [first for first in firsts if first.exists()]
    for first in firsts:
        first.write_text(first.read_text().replace('"deltakeep.format":"1"', '"deltakeep.format":"2"'))
    yield
    for first in firsts:
        first.write_text(first.read_text().replace('"deltakeep.format":"2"', '"deltakeep.format":"1"'))


def verify_difference(site: Site) -> Iterator[None]:
    """A data file of a target that says something else than what was written: a disk, or a hand."""
    log = site.workspace.target("cities") / "_delta_log"
    entry = log / f"{0:020}.json"
    (add,) = [line["add"] for line in map(json.loads, entry.read_text().splitlines()) if "add" in line]
    file = site.workspace.target("cities") / add["path"]
    rows = pq.ParquetFile(file).read()
    # The other way round, so that the statistics in the log still say what is in the file.
    amounts = pa.array(rows["amount"].to_pylist()[::-1], rows["amount"].type)
    pq.write_table(rows.set_column(rows.schema.get_field_index("amount"), "amount", amounts), file)
    entry.write_text(entry.read_text().replace(f'"size":{add["size"]}', f'"size":{file.stat().st_size}'))
    yield


def clock(site: Site) -> Iterator[None]:
    version = site.orders.append(MORE)
    entry = site.orders.log / f"{version:020}.json"
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["timestamp"] += 7_200_000
    entry.write_text("".join(json.dumps(line) + "\n" for line in lines))
    moment = entry.stat().st_mtime + 7_200
    os.utime(entry, (moment, moment))
    yield


def change_views(site: Site) -> Iterator[None]:
    (site.root / "views" / "large.sql").rename(site.root / "views" / "larger.sql")
    site.workspace.views["larger"] = site.workspace.views.pop("large")
    yield


def capacity(site: Site) -> Iterator[None]:
    for number in range(3):
        site.orders.append([{"id": 100 + number, "city": "Rome", "amount": number}])
        site.cycle()
    yield


def disaster(site: Site) -> Iterator[None]:
    """Only the definitions, the datasets and the targets are left, at another place."""
    shutil.rmtree(site.root / "state")
    there = site.root.with_name("restored")
    site.root.rename(there)
    site.workspace.root = there
    yield


def access(site: Site) -> Iterator[None]:
    """Somebody asks over TCP with a token whose time is over."""
    port, now_ms = free_port(), SystemClock().now_ms()
    tokens = TokenFile(site.root / "state" / "tokens.json")
    secret = tokens.create("olga", "operate", now_ms=1, by="root", expires_ms=now_ms - 1)
    with site.daemon("--listen", f"127.0.0.1:{port}"):
        asked = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        headers = {"content-type": "application/json", "authorization": f"Bearer {secret}"}
        asked.request("POST", "/v1/pause", b'{"view": "cities"}', headers)
        assert asked.getresponse().status == 401
        asked.close()
        yield


STAGES: Final[Mapping[str, Stage]] = {
    stage.__name__.replace("_", "-"): stage
    for stage in (
        freshness,
        failing_view,
        recompute,
        history_gone,
        retention,
        schema_change,
        dataset_unreadable,
        flood,
        wrong_data,
        deploy,
        reload_refused,
        stalled,
        memory,
        disk_full,
        two_daemons,
        foreign_writer,
        store_lost,
        upgrade,
        verify_difference,
        clock,
        change_views,
        capacity,
        disaster,
        access,
    )
}
