"""How many requests of one client are let in: a rate with room for a burst, and how many are open at once.

Pure but for its own memory, which is bounded: the clients that asked longest ago are forgotten first, and have a whole
burst again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

BURST: Final = 300
"""A page of the console asks for twenty files and a handful of answers."""
PER_SECOND: Final = 50
OPEN_OF_ONE_MAX: Final = 32
"""Each window of the console keeps one request open, for events."""
OPEN_MAX: Final = 256
CLIENTS_MAX: Final = 1_024


@dataclass(slots=True)
class _Client:
    """What a client has left of its burst, at a moment; `limited` until half of the burst is there again."""

    left: float
    at_ms: int
    open: int = 0
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Limited:
    """The client has to wait; `first` is true once until it has calmed down."""

    wait_ms: int
    first: bool


class RequestLimits:
    """The requests of each client by address."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._open = 0

    def enter(self, address: str, now_ms: int) -> Limited | None:
        """Count a request as open, until `leave`; or say how long its client has to wait."""
        client = self._client(address, now_ms)
        client.left = min(BURST, client.left + (now_ms - client.at_ms) * PER_SECOND / 1000)
        client.at_ms = now_ms
        if client.left >= 1 and client.open < OPEN_OF_ONE_MAX and self._open < OPEN_MAX:
            client.left -= 1
            client.open += 1
            self._open += 1
            client.limited = client.limited and client.left < BURST / 2
            return None
        first, client.limited = not client.limited, True
        return Limited(max(1_000, int((1 - client.left) * 1000 / PER_SECOND)), first)

    def leave(self, address: str) -> None:
        """A request that was let in has its answer."""
        self._open -= 1
        self._clients[address].open -= 1

    def _client(self, address: str, now_ms: int) -> _Client:
        client = self._clients.setdefault(address, _Client(BURST, now_ms))
        self._clients.move_to_end(address)
        while len(self._clients) > CLIENTS_MAX:
            # Whoever has requests open is remembered: there are at most OPEN_MAX of them.
            self._clients.pop(next(one for one, known in self._clients.items() if known.open == 0))
        return client
