"""The spill folder of a process, and what killed processes have left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from registry.session import RuntimeProfile, build_session_runtime
from registry.spill import PREFIX, Spilled, own_spill_folder, spilled


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


def test_what_a_query_has_on_disk_is_told_while_it_needs_it(tmp_path: Path) -> None:
    profile = RuntimeProfile(memory_limit_bytes=20_000_000, spill_directory=str(tmp_path), target_partitions=1)
    runtime = build_session_runtime(profile)
    assert runtime.spilled() == Spilled(0, 0)
    rows = runtime.query(
        "SELECT value, md5(CAST(value AS TEXT)) AS text FROM generate_series(1, 1000000) ORDER BY text"
    )
    rows.read_next_batch()
    during = runtime.spilled()
    assert during.files >= 2
    # A million texts of 32 characters, compressed or not, are more than the pool holds.
    assert 10_000_000 < during.bytes < 200_000_000
    rows.read_all()
    rows.close()
    assert runtime.spilled() == Spilled(0, 0)


def test_what_other_processes_have_spilled_is_not_ours(tmp_path: Path) -> None:
    other, own = tmp_path / f"{PREFIX}{os.getppid()}", own_spill_folder(tmp_path)
    for folder, size in ((other, 100_000), (own / "datafusion-x", 5_000)):
        folder.mkdir(parents=True)
        (folder / "spilled").write_bytes(b"x" * size)
    assert spilled(tmp_path) == Spilled(files=1, bytes=5_000)
