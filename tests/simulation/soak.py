"""A long life: thousands of cycles over a lake that changes and stays as large as it is, and what the process holds.

`python -m tests.simulation.soak --cycles 3000` (`make soak`) prints the curve, and fails where it still rises in its
second half; a test runs a short one.
The dataset is written by hand and its old log and files are cleaned up, so that nothing but the project could grow.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from incremental.keeper import Keeper
from incremental.preview import PreviewRequest
from registry.names import DatasetName
from tests.simulation.chain import orders
from tests.workspace import Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
LIVE_FILES: Final = 8
KEPT_ENTRIES: Final = 40
ASK_EVERY: Final = 25
HOUSEKEEPING_EVERY: Final = 60
MAY_RISE: Final = 1.25
"""By how much memory may be more at the end than half-way: allocators are not exact, and a leak does not stop."""
OBJECTS_MAY_RISE: Final = 1.1
DESCRIPTORS_MAY_RISE: Final = 2
VIEWS: Final = {
    "large": "SELECT id, city, amount FROM orders WHERE amount > 10",
    "totals": "SELECT city, count(*) AS sales, sum(amount) AS amount FROM orders GROUP BY city",
    "busy": "SELECT city, sales FROM totals WHERE sales > 1",
    "pairs": "SELECT l.id, t.sales FROM large l JOIN totals t ON l.city = t.city",
    "ranked": "SELECT id, rank() OVER (ORDER BY amount, id) AS place FROM orders",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds after so many cycles."""

    cycles: int
    resident_bytes: int
    descriptors: int
    threads: int
    python_objects: int
    reserved_bytes: int
    scratch_files: int

    def __str__(self) -> str:
        return (
            f"{self.cycles:6} cycles  {self.resident_bytes / 1e6:7.1f} MB  {self.descriptors:4} descriptors"
            f"  {self.threads:3} threads  {self.python_objects:8} objects  {self.reserved_bytes} bytes reserved"
            f"  {self.scratch_files} scratch files"
        )


def leaks(samples: Sequence[Sample]) -> list[str]:
    """What the second half of a life added to what a process holds, in words; caches are full by its middle.

    Raises ValueError for a life of which too little is known.
    """
    if len(samples) < 4:
        raise ValueError(f"{len(samples)} samples say nothing of a curve; four are needed")
    middle, last = samples[(len(samples) - 1) // 2], samples[-1]
    bounds = {
        "resident bytes": (last.resident_bytes, MAY_RISE * middle.resident_bytes),
        "Python objects": (last.python_objects, OBJECTS_MAY_RISE * middle.python_objects),
        "descriptors": (last.descriptors, middle.descriptors + DESCRIPTORS_MAY_RISE),
        "threads": (last.threads, middle.threads + DESCRIPTORS_MAY_RISE),
        "reserved bytes": (last.reserved_bytes, 0),
        "scratch files": (last.scratch_files, 0),
    }
    return [
        f"{what}: {found:,} after {last.cycles:,} cycles, where {middle.cycles:,} cycles allow for {bound:,.0f}"
        for what, (found, bound) in bounds.items()
        if found > bound
    ]


@dataclass(slots=True)
class Rolling:
    """A dataset of a few files: each commit adds one and removes the oldest."""

    workspace: Workspace
    files: list[tuple[str, int]] = field(default_factory=list)
    number: int = 0

    def change(self) -> None:
        """Commit rows in and rows out, by hand."""
        table = self.workspace.datasets["orders"]
        self.number += 1
        content = pa.Table.from_pylist([dict(row) for row in orders(self.number * 3, 12)], schema=ORDERS)
        name = f"part-{self.number:06}-{uuid.uuid4()}.parquet"
        pq.write_table(content, table.path / name)
        size = (table.path / name).stat().st_size
        self.files.append((name, size))
        add = {
            "path": name,
            "size": size,
            "modificationTime": self.number,
            "dataChange": True,
            "partitionValues": {},
            "stats": json.dumps({"numRecords": content.num_rows}),
        }
        actions: list[dict[str, object]] = [
            {"commitInfo": {"timestamp": self.number, "operation": "WRITE"}},
            {"add": add},
        ]
        if len(self.files) > LIVE_FILES:
            gone, _ = self.files.pop(0)
            actions.append({"remove": {"path": gone, "deletionTimestamp": self.number, "dataChange": True}})
        text = "".join(json.dumps(action) + "\n" for action in actions)
        (table.log / f"{self.number:020}.json").write_text(text)
        if self.number % KEPT_ENTRIES == 0:
            table.clean_log(self.number - KEPT_ENTRIES)


def started(root: Path) -> tuple[Rolling, Keeper]:
    """Make the project and build its views."""
    workspace = Workspace(root)
    workspace.dataset("orders", ORDERS, orders(0, 40))
    for name, query in VIEWS.items():
        workspace.view(name, query)
    workspace.settings = "concurrency = 2"
    keeper = workspace.open()
    workspace.cycle(keeper)
    return Rolling(workspace), keeper


def live(root: Path, cycles: int, every: int) -> Iterator[Sample]:
    """Run cycles, and tell what the process holds now and then; questions and housekeeping as in a daemon's life."""
    rolling, keeper = started(root)
    workspace = rolling.workspace
    for number in range(1, cycles + 1):
        if number % 7:
            rolling.change()
        workspace.clock.step(5_000)
        report = keeper.run_cycle(cause="soak")
        assert not [record.error for record in report.views if record.error], report
        if number % ASK_EVERY == 0:
            asked(keeper)
        if number % HOUSEKEEPING_EVERY == 0:
            keeper.housekeeping()
        if number % every == 0:
            yield sample(workspace, keeper, number)
    workspace.assert_right()
    keeper.close()


def asked(keeper: Keeper) -> None:
    """Ask everything once that a person may ask."""
    questions: tuple[Callable[[], object], ...] = (
        keeper.status,
        lambda: keeper.preview(PreviewRequest(exact=True)),
        lambda: keeper.preview(PreviewRequest(dataset=DatasetName("orders"), where="amount > 5")),
        lambda: keeper.why("totals"),
        lambda: keeper.explain("pairs"),
        keeper.verify,
        lambda: keeper.history("large"),
        keeper.lineage,
        lambda: keeper.query("SELECT count(*) FROM deltakeep.refreshes").read_all(),
        keeper.reload,
    )
    for question in questions:
        question()


def sample(workspace: Workspace, keeper: Keeper, cycles: int) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    scratch = [path for path in (workspace.root / "state" / "spill").rglob("*") if path.is_file()]
    scratch += [
        path for path in workspace.root.rglob("*") if path.is_file() and ("#" in path.name or path.suffix == ".tmp")
    ]
    return Sample(
        cycles=cycles,
        resident_bytes=pages * os.sysconf("SC_PAGESIZE"),
        descriptors=_entries("/proc/self/fd"),
        threads=_entries("/proc/self/task"),
        python_objects=len(gc.get_objects()),
        reserved_bytes=keeper.runtime.engine.reserved_bytes(),
        scratch_files=len(scratch),
    )


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def main() -> None:
    """Print the curve of a long life, and fail if it goes on rising."""
    parser = argparse.ArgumentParser(description="Run many cycles and print what the process holds.")
    parser.add_argument("--cycles", type=int, default=3_000)
    parser.add_argument("--every", type=int, default=250)
    chosen = parser.parse_args()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="deltakeep-soak-") as folder:
        for one in live(Path(folder), chosen.cycles, chosen.every):
            print(one, flush=True)
            samples.append(one)
    if found := leaks(samples):
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
