"""Sockets that systemd opened for us: the protocol of sd_listen_fds(3), without a library.

A Unix socket is for control, a TCP socket for metrics and health; who may connect to them is for their unit to say.
Invariant: the variables are taken out of the environment, so that no child process believes the sockets to be its own.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from registry.errors import EXIT_CONFIGURATION, DeltakeepError

FIRST_DESCRIPTOR: Final = 3
_TCP: Final = (socket.AF_INET, socket.AF_INET6)


class WrongSockets(DeltakeepError):
    """The socket unit passes something that the service cannot listen on."""

    exit_code_of_class = EXIT_CONFIGURATION


@dataclass(frozen=True, slots=True)
class PassedSockets:
    """The listening sockets that the service manager passed; None where it passed none."""

    control: socket.socket | None = None
    public: socket.socket | None = None

    def close(self) -> None:
        """Close our copies; systemd keeps its own."""
        for one in (self.control, self.public):
            if one is not None:
                one.close()


def take_passed_sockets(
    environment: MutableMapping[str, str], process_id: int, first: int = FIRST_DESCRIPTOR
) -> PassedSockets:
    """Take over what was passed to this process, if anything was.

    Raises `WrongSockets` for two sockets of one kind and for anything that is no listening stream socket.
    """
    meant_for = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if meant_for != str(process_id) or not count.isdecimal():
        return PassedSockets()
    found: dict[str, socket.socket] = {}
    for descriptor in range(first, first + int(count)):
        one = _listener(descriptor)
        kind = "control" if one.family == socket.AF_UNIX else "public" if one.family in _TCP else one.family.name
        if kind in found or kind not in {"control", "public"}:
            raise WrongSockets(
                "wrong_sockets",
                f'the service manager passes a second or unknown socket for "{kind}"',
                hint="give the .socket unit one Unix path for control, and at most one TCP address for metrics",
            )
        found[kind] = one
    return PassedSockets(found.get("control"), found.get("public"))


def _listener(descriptor: int) -> socket.socket:
    try:
        one = socket.socket(fileno=descriptor)
        listens = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError as error:
        raise WrongSockets(
            "wrong_sockets", f"descriptor {descriptor} is no socket: {error}", hint="start it by its .socket unit"
        ) from error
    if not listens:
        raise WrongSockets(
            "wrong_sockets",
            f"descriptor {descriptor} does not listen for connections",
            hint="use ListenStream= and Accept=no in the .socket unit",
        )
    one.set_inheritable(False)
    one.setblocking(False)
    return one
