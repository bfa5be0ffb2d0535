"""Sockets that systemd opened for us: the protocol of sd_listen_fds(3), without a library.

A Unix socket is for control, a TCP socket for metrics and health; who may connect to them is for their unit to say.
Invariant: the variables are taken out of the environment, so that no child process believes the sockets to be its own.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from contextlib import ExitStack
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
    with ExitStack() as undo:
        for descriptor in range(first, first + int(count)):
            one = undo.enter_context(_opened(descriptor))
            kind = _kind(one)
            if kind in found:
                raise WrongSockets(
                    "wrong_sockets",
                    f"the service manager passes a second socket for {kind}",
                    hint="give the .socket unit one Unix path for control, and at most one TCP address for metrics",
                )
            one.set_inheritable(False)
            one.setblocking(False)
            found[kind] = one
        undo.pop_all()
    return PassedSockets(found.get("control"), found.get("public"))


def _opened(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise WrongSockets(
            "wrong_sockets", f"descriptor {descriptor} is no socket: {error}", hint="start it by its .socket unit"
        ) from error


def _kind(one: socket.socket) -> str:
    """What a socket is for, by its family."""
    listens = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    if one.family == socket.AF_UNIX and listens:
        return "control"
    if one.family in _TCP and listens:
        return "public"
    raise WrongSockets(
        "wrong_sockets",
        f"descriptor {one.fileno()} does not listen for connections on a path or an address",
        hint="use ListenStream= and Accept=no in the .socket unit",
    )
