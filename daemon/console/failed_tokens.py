"""How many wrong tokens came from an address lately, so that guessing ends soon.

Pure but for its own memory, which is bounded: the addresses that failed longest ago are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FAILED_MAX: Final = 10
WINDOW_MS: Final = 60_000
ADDRESSES_MAX: Final = 1_024


class FailedTokens:
    """Wrong tokens by address, within the last minute."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[int]] = OrderedDict()

    def wait_ms(self, address: str, now_ms: int) -> int:
        """How long no token of that address is looked at; 0 where one is."""
        recent = self._recent(address, now_ms)
        return 0 if len(recent) < FAILED_MAX else recent[0] + WINDOW_MS - now_ms

    def failed(self, address: str, now_ms: int) -> None:
        """A wrong token came."""
        self._failed[address] = [*self._recent(address, now_ms), now_ms][-FAILED_MAX:]
        self._failed.move_to_end(address)
        while len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)

    def _recent(self, address: str, now_ms: int) -> list[int]:
        return [at_ms for at_ms in self._failed.get(address, ()) if now_ms - at_ms < WINDOW_MS]
