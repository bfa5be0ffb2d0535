"""The spill folder of one process, and the removal of those that killed processes have left; an edge.

What is spilled is worth nothing once its process is gone.
A folder is named after its process, so that whoever opens the project next can tell.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

PREFIX: Final = "process-"


def own_spill_folder(spill: Path) -> Path:
    """Name this process's folder under `spill`, and remove the folders of processes that are gone.

    The engine makes the folder. One that cannot be removed stays; the next process tries again.
    """
    for left in spill.glob(f"{PREFIX}*"):
        number = left.name.removeprefix(PREFIX)
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return spill / f"{PREFIX}{os.getpid()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
