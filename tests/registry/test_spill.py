"""The spill folder of a process, and what killed processes have left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from registry.spill import PREFIX, own_spill_folder


def test_the_folder_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / f"{PREFIX}{int(gone.stdout)}"
    (left / "datafusion-x").mkdir(parents=True)
    own_spill_folder(tmp_path)
    assert not left.exists()


def test_folders_of_the_living_and_of_strangers_stay(tmp_path: Path) -> None:
    living, stranger = tmp_path / f"{PREFIX}{os.getppid()}", tmp_path / "something"
    living.mkdir()
    stranger.mkdir()
    assert own_spill_folder(tmp_path) == tmp_path / f"{PREFIX}{os.getpid()}"
    assert living.exists()
    assert stranger.exists()


def test_a_spill_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert own_spill_folder(tmp_path / "later").parent == tmp_path / "later"
