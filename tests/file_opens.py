"""Which files are opened in a folder, as the kernel tells: tests count reads by it, not bytes of a cache and not time.

Linux only (inotify).  What every process opens is seen, so a test watches folders of its own.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LISTED: Final = "."
"""Stands for the folder itself among the names: somebody listed it."""

_IN_OPEN: Final = 0x20
_IN_Q_OVERFLOW: Final = 0x4000
_IN_ISDIR: Final = 0x40000000
_EVENT: Final = struct.Struct("iIII")
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Opens:
    """How often each file of a folder was opened; filled when the watching ends."""

    names: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> Counter[str]:
        """The opens of files, listings of the folder left out."""
        return Counter({name: count for name, count in self.names.items() if name != LISTED})


@contextmanager
def opens_in(folder: Path) -> Iterator[Opens]:
    """Count what is opened directly in a folder meanwhile; fails where the kernel lost count."""
    descriptor = _LIBRARY.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    try:
        if _LIBRARY.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))
        opens = Opens()
        yield opens
        opens.names.update(_names(descriptor))
    finally:
        os.close(descriptor)


def _names(descriptor: int) -> Iterator[str]:
    while True:
        try:
            events = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size
            assert not mask & _IN_Q_OVERFLOW, "too much was opened for the kernel's queue; watch a shorter time"
            name = events[at : at + length].rstrip(b"\0")
            at += length
            yield LISTED if mask & _IN_ISDIR and not name else os.fsdecode(name)
