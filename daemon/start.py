"""Starting the service from the command line or from systemd: settings, logs, process, exit code."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from daemon.activation import PassedSockets, take_passed_sockets
from daemon.build import product_version
from daemon.clock import Clock, SystemClock
from daemon.console.settings import console_settings
from daemon.integrations.outlets import Outlets, build_outlets
from daemon.log import DEFAULT_LEVEL, LogControl, LogLevel, LogStyle, configure_logging
from daemon.metrics import Metrics
from daemon.notify import ServiceNotifier
from daemon.place import DEFAULT_LISTEN, daemon_settings, socket_path
from daemon.port import KeeperPort
from daemon.service import Service
from daemon.service_options import Left, ServiceOptions
from registry.project import read_settings


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What the command line says instead of `[daemon]`."""

    socket: Path | None = None
    listen: str | None = None
    no_listen: bool = False
    log: str | None = None
    log_level: str | None = None


def serve(root: Path, options: StartOptions) -> int:
    """Run the service until it stops; returns the process's exit code.

    Ends the process hard where a cancelled refresh does not return: what it did not commit never happened.
    """
    clock, metrics = SystemClock(), Metrics()
    settings = daemon_settings(root)
    style = options.log or settings.get("log", "auto")
    logs = LogControl(LogLevel(options.log_level or str(settings.get("log_level", DEFAULT_LEVEL))))
    configure_logging(
        clock,
        cast("LogStyle", style),
        on_line=lambda level: metrics.add("log_messages_total", level=level),
        level=logs.level,
        ring=logs.ring,
    )
    listen = options.listen or str(settings.get("listen", DEFAULT_LISTEN))
    service_options = ServiceOptions(
        root=root,
        socket=(options.socket or socket_path(root)).absolute(),
        listen=None if options.no_listen else listen,
        console=console_settings(root, settings),
    )
    passed, outlets = take_passed_sockets(os.environ, os.getpid()), _outlets(root, clock, metrics)
    left = asyncio.run(_serve(root, service_options, passed, clock, metrics, logs, outlets))
    if left.failure is not None:
        from daemon.cli.show import show_failure

        show_failure(left.failure)
    if left.abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(left.exit_code)
    return left.exit_code


def _outlets(root: Path, clock: Clock, metrics: Metrics) -> Outlets:
    """The integrations of the project; none where its file is broken, which opening the project tells."""
    settings = read_settings(root)
    if settings is None:
        return Outlets(clock)
    return build_outlets(settings.integrations, settings.name, clock, metrics)


async def _serve(
    root: Path,
    options: ServiceOptions,
    passed: PassedSockets,
    clock: Clock,
    metrics: Metrics,
    logs: LogControl,
    outlets: Outlets,
) -> Left:
    def open_here() -> KeeperPort:
        # The engine is loaded in the worker's thread, while the control socket answers already.
        from daemon.live_keeper import open_keeper

        return open_keeper(root, clock)

    identity = {"pid": os.getpid(), "version": product_version(), "python": platform.python_version()}
    service = Service(
        options,
        clock=clock,
        open_keeper=open_here,
        notifier=ServiceNotifier(os.environ, os.getpid()),
        metrics=metrics,
        identity=identity,
        passed=passed,
        logs=logs,
        outlets=outlets,
    )
    return await service.run()
