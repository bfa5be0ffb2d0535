"""Where the service listens: sockets that systemd passed, else sockets of its own.

Invariant: what we opened, we remove; what systemd opened outlives us, so that clients wait there for the next start.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from daemon.activation import PassedSockets
from daemon.control import bind_control_socket, bind_public_socket
from daemon.log import logger
from daemon.service_options import ServiceOptions


@dataclass(frozen=True, slots=True)
class Listeners:
    """The two listening sockets; `public` None serves no TCP, `remove` takes away what was made for them."""

    control: socket.socket
    public: socket.socket | None
    remove: Callable[[], None]

    def close(self) -> None:
        """Listen no more, and take away what was made."""
        for listener in (self.control, self.public):
            if listener is not None:
                listener.close()
        self.remove()

    @property
    def public_address(self) -> tuple[str, int] | None:
        """Host and port of metrics and health."""
        return None if self.public is None else self.public.getsockname()[:2]


def open_listeners(options: ServiceOptions, passed: PassedSockets) -> Listeners:
    """Take what systemd passed, open the rest; raises `CannotListen` where an address is taken."""

    def remove() -> None:
        if passed.control is None:
            options.socket.unlink(missing_ok=True)

    if passed.control is not None:
        _tell_another_path(options, passed.control)
    control = passed.control or bind_control_socket(options.socket)
    try:
        public = passed.public
        if public is None and options.listen is not None:
            public = bind_public_socket(options.listen)
    except BaseException:
        control.close()
        remove()
        raise
    return Listeners(control, public, remove)


def _tell_another_path(options: ServiceOptions, control: socket.socket) -> None:
    """Commands look for the socket where the project says it is."""
    name = os.fsdecode(control.getsockname())
    if name != str(options.socket):
        logger("listeners").warning(
            "control socket is elsewhere",
            socket=name,
            expected=str(options.socket),
            hint="let [daemon] socket and ListenStream= of the .socket unit name the same path",
        )
