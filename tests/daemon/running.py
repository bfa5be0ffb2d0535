"""A service in the test's event loop: real sockets, real loops, whatever keeper the test brings."""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.activation import PassedSockets
from daemon.client import DaemonClient
from daemon.clock import SystemClock
from daemon.console.settings import ConsoleSettings
from daemon.integrations.outlets import Outlets
from daemon.log import LogControl
from daemon.metrics import Metrics
from daemon.notify import ServiceNotifier
from daemon.port import KeeperPort
from daemon.service import Service
from daemon.service_options import Left, ServiceOptions
from tests.daemon.fakes import FakeKeeper

PATIENCE_S = 10.0


@dataclass
class Running:
    """A service that runs in this event loop."""

    service: Service
    metrics: Metrics
    socket: Path
    task: asyncio.Task[Left]

    async def call(self, operation: str, **parameters: Any) -> Any:
        return await asyncio.to_thread(DaemonClient(self.socket).call, operation, parameters, None)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - conditions are read from anywhere
                await asyncio.sleep(0.005)

    async def get(self, path: str) -> tuple[int, str]:
        assert self.service.public_address is not None
        host, port = self.service.public_address

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE_S) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"deltakeep_{name}", labels)

    @property
    def state(self) -> str:
        return str(self.service.identity()["state"])


@asynccontextmanager
async def running(
    tmp_path: Path,
    keeper: KeeperPort,
    *,
    open_keeper: Callable[[], KeeperPort] | None = None,
    environment: Mapping[str, str] | None = None,
    drain_ms: int = 5_000,
    opening_patience_ms: int = 5_000,
    passed: PassedSockets | None = None,
    handle_signals: bool = False,
    console: ConsoleSettings | None = None,
    with_console: bool = True,
    logs: LogControl | None = None,
    outlets: Outlets | None = None,
) -> AsyncIterator[Running]:
    metrics = Metrics(process_metrics=False)
    (tmp_path / "views").mkdir(exist_ok=True)
    path = tmp_path / "state" / "deltakeep.sock"
    service = Service(
        ServiceOptions(
            root=tmp_path,
            socket=path,
            listen="127.0.0.1:0",
            console=(console or ConsoleSettings(path.with_name("tokens.json"))) if with_console else None,
            drain_ms=drain_ms,
            opening_patience_ms=opening_patience_ms,
            handle_signals=handle_signals,
        ),
        clock=SystemClock(),
        open_keeper=open_keeper or (lambda: keeper),
        notifier=ServiceNotifier(environment or {}, os.getpid()),
        metrics=metrics,
        identity={"pid": os.getpid(), "version": "test"},
        passed=passed,
        logs=logs,
        outlets=outlets,
    )
    task = asyncio.create_task(service.run())
    one = Running(service, metrics, path, task)
    try:
        if open_keeper is None:
            await one.until(lambda: one.state == "running" or task.done())
        yield one
    finally:
        if not task.done():
            service.request_stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(task, PATIENCE_S)


@asynccontextmanager
async def real(root: Path) -> AsyncIterator[Running]:
    """The real service with the real engine, in this process."""
    from daemon.live_keeper import open_keeper

    async with running(root, FakeKeeper(), open_keeper=lambda: open_keeper(root, SystemClock())) as one:
        yield one


async def ready(one: Running) -> None:
    """Wait until the service is ready: every view has had its first cycle."""
    await one.until(lambda: all(one.service.ready_gates().values()))
