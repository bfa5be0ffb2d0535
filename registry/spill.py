"""The spill folder of one process: what lies in it, and the removal of those that killed processes left; an edge.

What is spilled is worth nothing once its process is gone.
A folder is named after its process, so that whoever opens the project next can tell.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "process-"


@dataclass(frozen=True, slots=True)
class Spilled:
    """What lies on disk because it did not fit into memory."""

    files: int = 0
    bytes: int = 0


def spilled(spill: Path) -> Spilled:
    """What this process has spilled under `spill` and not read again yet; files come and go meanwhile."""
    files = size = 0
    for folder, _, names in os.walk(_own(spill)):
        for name in names:
            try:
                size += os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - there may be thousands
            except FileNotFoundError:
                continue
            files += 1
    return Spilled(files, size)


def own_spill_folder(spill: Path) -> Path:
    """Name this process's folder under `spill`, and remove the folders of processes that are gone.

    The engine makes the folder. One that cannot be removed stays; the next process tries again.
    """
    for left in spill.glob(f"{PREFIX}*"):
        number = left.name.removeprefix(PREFIX)
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return _own(spill)


def _own(spill: Path) -> Path:
    return spill / f"{PREFIX}{os.getpid()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
