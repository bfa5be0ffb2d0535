"""The spill folder of a process, what goes into it, and what killed processes have left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from registry.dataset import TableRef
from registry.native import AppendRequest
from registry.session import RuntimeProfile, TableSpec, build_session_runtime
from registry.spill import PREFIX, Spilled, own_spill_folder, spilled
from tests.file_opens import opens_in
from tests.workspace import Workspace


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


SMALL_POOL: Final = 24_000_000
MANY: Final = 300_000
TEXTS: Final = pa.schema([("id", pa.int64()), ("text", pa.string())])


def texts(first: int, count: int) -> pa.Table:
    """Make rows of which no two have the same text, in no order, and all of which are more than the pool."""
    ids = range(first, first + count)
    return pa.table([pa.array(ids), pa.array([f"row {number * 7919 % MANY} " * 8 for number in ids])], schema=TEXTS)


def folder_of_the_engine(spill: Path) -> Path:
    """Find where the engine of this process puts what it spills."""
    (folder,) = (spill / f"{PREFIX}{os.getpid()}").iterdir()
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts opens")
def test_a_query_that_is_larger_than_the_pool_is_spilled_into_the_folder_and_right(tmp_path: Path) -> None:
    profile = RuntimeProfile(
        spill_directory=str(tmp_path / "spill"), memory_limit_bytes=SMALL_POOL, target_partitions=1, durable=False
    )
    runtime = build_session_runtime(profile)
    table = TableRef(uri=str(tmp_path / "texts"))
    runtime.append(AppendRequest(table=table), texts(0, MANY))
    folder = folder_of_the_engine(tmp_path / "spill")
    with opens_in(folder) as opens:
        reader = runtime.query(
            "SELECT id, text FROM texts ORDER BY text, id", tables=(TableSpec.delta("texts", table),)
        )
        found = reader.read_all()
    assert opens.files.total() > 0, "nothing was spilled"
    expected = texts(0, MANY).sort_by([("text", "ascending"), ("id", "ascending")])
    assert expected.nbytes > SMALL_POOL
    assert found == expected.cast(found.schema)
    assert list(folder.iterdir()) == [], "what was spilled stayed"
    assert runtime.reserved_bytes() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts opens")
def test_a_view_that_is_larger_than_the_pool_is_built_refreshed_and_proved(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.settings = f"memory = {SMALL_POOL}"
    dataset = workspace.dataset("texts", TEXTS)
    write_deltalake(dataset.path, texts(0, MANY), mode="append")
    workspace.view("grouped", "SELECT text, count(*) AS n, sum(id) AS ids FROM texts GROUP BY text")
    keeper = workspace.open()
    folder = folder_of_the_engine(tmp_path / "state" / "spill")
    with opens_in(folder) as built:
        assert workspace.cycle(keeper)["grouped"].outcome == "committed"
    assert built.files.total() > 0, "nothing was spilled"
    write_deltalake(dataset.path, texts(MANY, 1_000), mode="append")
    assert workspace.cycle(keeper)["grouped"].outcome == "committed"
    (report,) = keeper.verify()
    assert (report.checked, report.equal) == (True, True), report.message
    # The audit is ours, and so large a content takes the oracle half a minute; pyarrow groups too.
    expected = (
        pa.concat_tables([texts(0, MANY), texts(MANY, 1_000)])
        .group_by("text")
        .aggregate([("id", "count"), ("id", "sum")])
    )
    found = DeltaTable(workspace.target("grouped")).to_pyarrow_table(columns=["text", "n", "ids"])
    assert found.sort_by("text").to_pydict() == dict(
        zip(found.column_names, expected.sort_by("text").to_pydict().values(), strict=True)
    )
    assert list(folder.iterdir()) == [], "what was spilled stayed"
    keeper.close()


def test_a_join_that_does_not_fit_says_so_and_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.settings = f"memory = {SMALL_POOL}"
    dataset = workspace.dataset("texts", TEXTS)
    write_deltalake(dataset.path, texts(0, MANY), mode="append")
    workspace.view("joined", "SELECT a.id, b.text FROM texts a JOIN texts b ON a.text = b.text")
    keeper = workspace.open()
    record = workspace.cycle(keeper)["joined"]
    keeper.close()
    assert record.outcome == "failed"
    assert "out of memory" in str(record.error)
    assert "memory" in str(record.error).partition("out of memory")[2]


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
