"""Telling systemd how we are: the notification protocol of sd_notify(3), without a library.

Outside systemd (`NOTIFY_SOCKET` unset) every call does nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

PATIENCE_S = 1.0


class ServiceNotifier:
    """Sends readiness, status and watchdog messages to the service manager, if there is one."""

    def __init__(self, environment: Mapping[str, str], process_id: int) -> None:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; a leading `@` is an abstract socket."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant_for_us = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        interval = environment.get("WATCHDOG_USEC", "") if meant_for_us else ""
        self.watchdog_ms: int | None = int(interval) // 1000 if interval.isdigit() and int(interval) > 0 else None

    def ready(self, status: str) -> None:
        """Started, or reloaded, and able to work."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def reloading(self, monotonic_ms: int) -> None:
        """A reload has begun; `ready` ends it."""
        # systemd ignores an answer that seems older than its request: a moment cut to milliseconds is rounded up.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={(monotonic_ms + 1) * 1000}")

    def extend(self, more_ms: int) -> None:
        """Starting goes on: do not run out of patience for so long."""
        self._send(f"EXTEND_TIMEOUT_USEC={more_ms * 1000}")

    def stopping(self, status: str) -> None:
        """Shutting down."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """Watcher, planner and committer turned; missing these makes systemd restart the service."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # A service manager that does not read must not stop the event loop.
            sender.settimeout(PATIENCE_S)
            try:
                sender.connect(self._address)
                sender.sendall(message.encode())
            except OSError:
                # A service manager that does not listen is no reason to stop keeping views.
                return
