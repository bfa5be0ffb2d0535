"""Who asks: a user of this machine or the holder of a token, and what the role allows.

Pure.  Roles are ordered: who may administer may operate, who may operate may read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from registry.errors import EXIT_NOT_ALLOWED, DeltakeepError

Role = Literal["read", "operate", "admin"]
Way = Literal["socket", "here", "token", "loopback"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the way that it came: control socket, this process, a token, or loopback without one."""

    name: str
    role: Role
    way: Way


LOOPBACK: Final = Caller("loopback", "read", "loopback")


def covers(role: Role, needed: Role) -> bool:
    """Whether a role allows what another one allows.

    >>> covers("operate", "read"), covers("read", "operate")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


class NotAllowed(DeltakeepError):
    """The caller's role does not cover what was asked."""

    exit_code_of_class = EXIT_NOT_ALLOWED

    def __init__(self, caller: Caller, needed: Role, what: str) -> None:
        who = "a caller without a token" if caller.way == "loopback" else f'the role "{caller.role}" of "{caller.name}"'
        hint = f"`daemonctl token create NAME --role {needed}` makes a token that may"
        super().__init__("not_allowed", f'{what} needs the role "{needed}"; {who} has too little', hint=hint)
        self.needed = needed
