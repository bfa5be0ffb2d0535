"""What a view says of its target's layout reaches the table, and what the table says is obeyed by every refresh."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from registry.errors import DefinitionError
from tests import oracle
from tests.workspace import Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
FIRST: Final = [{"id": 1, "city": "Rome", "amount": 10}, {"id": 2, "city": "Oslo", "amount": 20}]
COPIES: Final = ("whole", "cut")
COPY: Final = "SELECT id, city, amount FROM orders"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("orders", ORDERS, FIRST)
    return made


def built(workspace: Workspace) -> None:
    keeper = workspace.open()
    assert {record.outcome for record in workspace.cycle(keeper).values()} == {"committed"}
    keeper.close()


def test_options_of_a_view_are_properties_of_its_table(workspace: Workspace) -> None:
    workspace.view("plain", COPY)
    workspace.view(
        "told",
        COPY,
        'change_data_feed = false\ndeletion_vectors = true\ntarget_file_size = "64MiB"\npartition_by = ["city"]\n'
        'properties = { "delta.checkpointInterval" = 7 }',
    )
    built(workspace)
    plain, told = (DeltaTable(workspace.target(name)).metadata() for name in ("plain", "told"))
    assert plain.configuration["delta.enableChangeDataFeed"] == "true"
    assert plain.configuration.get("delta.enableDeletionVectors", "false") == "false"
    assert plain.partition_columns == []
    wanted = {
        "delta.enableChangeDataFeed": "false",
        "delta.enableDeletionVectors": "true",
        "delta.targetFileSize": str(64 * 1024 * 1024),
        "delta.checkpointInterval": "7",
    }
    assert {name: told.configuration.get(name) for name in wanted} == wanted
    assert told.partition_columns == ["city"]


def test_row_tracking_is_refused_with_the_reason(workspace: Workspace) -> None:
    workspace.view("tracked", COPY, 'properties = { "delta.enableRowTracking" = true }')
    with pytest.raises(DefinitionError, match="the writer cannot keep row ids") as caught:
        workspace.open()
    assert "views/tracked.sql" in str(caught.value)
    assert not workspace.target("tracked").exists()


def test_files_are_as_large_as_the_view_says(workspace: Workspace) -> None:
    chance = random.Random(1)
    texts = [{"id": number, "city": f"{chance.getrandbits(256):064x}", "amount": 0} for number in range(120_000)]
    workspace.datasets["orders"].append(texts)
    workspace.view("whole", COPY)
    workspace.view("cut", COPY, 'target_file_size = "1MB"')
    keeper = workspace.open()
    workspace.cycle(keeper)
    sizes = {name: sorted(path.stat().st_size for path in workspace.target(name).glob("*.parquet")) for name in COPIES}
    assert len(sizes["whole"]) <= 2
    assert len(sizes["cut"]) >= 4
    # A file ends with the batch that makes it large enough.
    assert sizes["cut"][-1] < 2_500_000 < sizes["whole"][-1], sizes
    assert [(report.checked, report.equal) for report in keeper.verify()] == [(True, True)] * 2
    keeper.close()


def test_a_constraint_of_the_target_is_obeyed_and_named(workspace: Workspace) -> None:
    workspace.view("kept", COPY)
    workspace.view("other", "SELECT city, count(*) AS n FROM orders GROUP BY city")
    built(workspace)
    DeltaTable(workspace.target("kept")).alter.add_constraint({"affordable": "amount < 100"})
    before = oracle.read(workspace.target("kept"))
    keeper = workspace.open()
    workspace.datasets["orders"].append(
        [{"id": 3, "city": "Bern", "amount": 50}, {"id": 4, "city": "Bern", "amount": 500}]
    )
    records = workspace.cycle(keeper)
    assert (records["kept"].outcome, records["other"].outcome) == ("failed", "committed")
    assert "affordable" in str(records["kept"].error)
    oracle.assert_equal(before, oracle.read(workspace.target("kept")), about="the last good content")
    workspace.datasets["orders"].delete("amount >= 100")
    assert workspace.cycle(keeper)["kept"].outcome == "committed"
    workspace.assert_right()
    keeper.close()
