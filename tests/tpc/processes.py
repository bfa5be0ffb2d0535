"""Processes that know nothing of each other: modules of this folder, run somewhere else under another environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def run_module(module: str, *arguments: str, folder: Path, hash_seed: int = 0, time_zone: str = "UTC") -> str:
    """Run a module with `folder` as its working directory, and return what it prints; raises where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": os.defpath,
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONPATH": str(ROOT),
            "TZ": time_zone,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
