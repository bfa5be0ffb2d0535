"""What this layer needs of a clock; it never reads the time itself."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Source of the present moment, in milliseconds."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC; may be stepped by an administrator."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary start; never goes back."""
        ...
