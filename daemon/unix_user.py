"""Users of this machine: who runs this process, and who is at the other end of a Unix socket; an edge."""

from __future__ import annotations

import os
import pwd
import socket
import struct

from daemon.caller import Caller

_CREDENTIALS = struct.Struct("3i")


def caller_here() -> Caller:
    """The user that this process runs as, who may do all that the process may."""
    return Caller(user_name(os.geteuid()), "admin", "here")


def caller_of_peer(stream: socket.socket) -> Caller:
    """The user at the other end of a connected Unix socket, as the kernel says.

    Whoever may open the control socket may administer: its mode is what guards it.
    """
    raw = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _process, user, _group = _CREDENTIALS.unpack(raw)
    return Caller(user_name(user), "admin", "socket")


def user_name(user_id: int) -> str:
    """The name of a user, or `uid 1234` where none is known."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"uid {user_id}"
