"""Makes the projects and the synthetic tables that benchmarks run on; equal arguments give equal rows."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, PostCommitHookProperties, write_deltalake

from benchmarks.recording import Recorder, record
from daemon.clock import SystemClock
from incremental.keeper import Keeper
from incremental.outcome import Outcome
from incremental.reports import CycleReport
from registry.project import load_project
from registry.session import RuntimeProfile, build_session_runtime
from registry.view import StateTable

GROUPS: Final = 2_000
PARTITIONS: Final = 2
"""Threads of every engine that is compared."""

_QUIET: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def write_project(
    root: Path,
    datasets: Iterable[str],
    views: Mapping[str, str],
    *,
    durable: bool = False,
    trusted_writers: Iterable[str] = (),
    state_table: StateTable = StateTable.AUTO,
) -> None:
    """Write `deltakeep.toml` and the views; a dataset lies at `lake/<name>`."""
    trusted = f"trusted_writers = {json.dumps(list(trusted_writers))}"
    parts = ['[project]\nname = "bench"\nstore = "state"\ntargets = "views_out"']
    parts += [f'[datasets.{name}]\nuri = "lake/{name}"\npoll = "1s"\n{trusted}' for name in datasets]
    parts.append(f'[defaults]\nstate_table = "{state_table.value}"')
    parts.append(f'[engine]\nmemory = "4GB"\ntarget_partitions = {PARTITIONS}\ndurable = {str(durable).lower()}')
    (root / "deltakeep.toml").write_text("\n\n".join(parts) + "\n")
    (root / "views").mkdir(exist_ok=True)
    for name, query in views.items():
        (root / "views" / f"{name}.sql").write_text(f"{query}\n")


def open_recorded(root: Path) -> tuple[Keeper, Recorder]:
    """Open a keeper whose engine is recorded."""
    runtime, recorder = record(build_session_runtime(RuntimeProfile.of(load_project(root).engine)))
    return Keeper.open(root, clock=SystemClock(), runtime=runtime), recorder


def require_committed(report: CycleReport, *views: str) -> CycleReport:
    """The report, if each of the views was committed; a benchmark that measures something else must not go on."""
    for view in views:
        found = report.of(view)
        if found.outcome != Outcome.COMMITTED:
            raise RuntimeError(f'view "{view}" was {found.outcome}, not committed: {found.reason} {found.message}')
    return report


def write_rows(path: Path, rows: int, *, files: int = 1, properties: Mapping[str, str] | None = None) -> None:
    """Create a Delta table of synthetic rows in as many files, in the order of their ids."""
    each = -(-rows // files)
    for number in range(files):
        first = number * each
        table = synthetic(first, min(each, rows - first))
        if number == 0:
            write_deltalake(path, table, configuration=dict(properties or {}))
        else:
            append_table(path, table)


def record_changes(path: Path) -> None:
    """Have all later changes of a table recorded in change files too."""
    DeltaTable(path).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})


def append_table(path: Path, table: pa.Table) -> None:
    """Append rows as a stranger would, in one commit; the table is created if it is not there."""
    write_deltalake(path, table, mode="append", post_commithook_properties=_QUIET)


def append_rows(path: Path, first: int, rows: int) -> None:
    """Append synthetic rows as a stranger would, in one commit."""
    append_table(path, synthetic(first, rows))


def delete_rows(path: Path, predicate: str) -> int:
    """Delete rows as a stranger would, and return how many there were."""
    return int(DeltaTable(path).delete(predicate, post_commithook_properties=_QUIET)["num_deleted_rows"])


def update_rows(path: Path, updates: dict[str, str], predicate: str | None = None) -> None:
    """Update rows (all: None) as a stranger would."""
    DeltaTable(path).update(updates, predicate=predicate, post_commithook_properties=_QUIET)


def data_files(path: Path) -> list[Path]:
    """The live data files of a table."""
    return sorted(Path(uri.removeprefix("file://")) for uri in DeltaTable(path).file_uris())


def synthetic(first: int, rows: int) -> pa.Table:
    """Rows with a key, a group, a number of low cardinality, two measures, a text and a time."""
    ids = pc.add(pa.array(range(rows), pa.int64()), pa.scalar(first, pa.int64()))
    mixed = pc.bit_wise_and(pc.multiply(ids, pa.scalar(2_654_435_761, pa.int64())), pa.scalar(2**31 - 1, pa.int64()))
    amount = pc.divide(pc.cast(_modulo(mixed, 1_000_003), pa.float64()), pa.scalar(100.0))
    seconds = pc.add(_modulo(ids, 31_536_000), pa.scalar(1_356_998_400, pa.int64()))
    return pa.table(
        {
            "id": ids,
            "grp": _modulo(mixed, GROUPS),
            "kind": pc.cast(_modulo(mixed, 7), pa.int32()),
            "quantity": _modulo(mixed, 97),
            "amount": amount,
            "label": pc.binary_join_element_wise("label", pc.cast(_modulo(mixed, 50_021), pa.string()), "-"),
            "moment": pc.cast(pc.multiply(seconds, pa.scalar(1_000_000, pa.int64())), pa.timestamp("us", tz="UTC")),
        }
    )


def copy_table(source: Path, target: Path) -> None:
    """Copy a table and give the copy an identity of its own."""
    shutil.copytree(source, target)
    entry = target / "_delta_log" / f"{0:020}.json"
    own = f'"metaData":{{"id":"{uuid.uuid4()}"'
    text, count = re.subn(r'"metaData":\{"id":"[^"]+"', own, entry.read_text(), count=1)
    if count != 1:
        raise RuntimeError(f'no identity found in "{entry}"')
    entry.write_text(text)


def _modulo(values: pa.Array, by: int) -> pa.Array:
    divisor = pa.scalar(by, pa.int64())
    return pc.subtract(values, pc.multiply(pc.divide(values, divisor), divisor))
