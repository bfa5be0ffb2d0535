"""The only file that reads time; everything else is handed a `Clock`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of the present moment, in milliseconds."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC; may be stepped by an administrator."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary start; never goes back."""
        return time.monotonic_ns() // 1_000_000


def cpu_of_other_threads_ms() -> int:
    """Processor time that all threads but the calling one have used so far, in milliseconds."""
    return (time.process_time_ns() - time.thread_time_ns()) // 1_000_000


def clock_text(at_ms: int) -> str:
    """Local time of day as `14:03:07`, for lines that a person reads."""
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000))


def timestamp_text(at_ms: int) -> str:
    """UTC timestamp in RFC 3339 with milliseconds, for logs and JSON."""
    whole, milliseconds = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"
