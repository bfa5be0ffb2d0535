"""Our functions against the nearest thing that can be put together from built-in ones, in the same engine.

Each pair of queries reads the same rows and differs in the expression alone, so the time of the scan is in both.
Ten million rows in batches as DataFusion makes them, and one million in batches of 64 rows, where the fixed costs of a
call show.
A family is judged by the geometric mean of its lines of both kinds; the lines say which of its functions lose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from benchmarks.both_paths import geometric_mean
from benchmarks.measurement import Goal, Result, Setting, Work, take_turns, timed
from benchmarks.projects import PARTITIONS, synthetic
from registry.dataset import TableRef
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime

NAME: Final = "functions"
EQUAL: Final = Goal("ratio at most 1", 1.0)
GROUPED: Final = Goal("ratio at most 1.5", 1.5)
EXACT: Final = Goal("ratio at most 3", 3.0)
FILE_ROWS: Final = 1_000_000
SHORT_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with our function, and the nearest one without."""

    case: str
    ours: str
    rival: str
    goal: Goal

    @property
    def family(self) -> str:
        """What comes before the colon."""
        return self.case.partition(":")[0]


PAIRS: Final = (
    Pair(
        "identifiers: stable_id_parts",
        "SELECT sum(octet_length(stable_id_parts('row', label, id))) FROM rows",
        "SELECT sum(octet_length(concat('row:', encode(digest(concat_ws(chr(31), 'row', label, "
        "CAST(id AS varchar)), 'blake3'), 'hex')))) FROM rows",
        EQUAL,
    ),
    Pair(
        "identifiers: prefixed_hash_parts64",
        "SELECT max(prefixed_hash_parts64('row', label, id)) FROM rows",
        "SELECT max(digest(concat_ws(chr(31), 'row', label, CAST(id AS varchar)), 'blake3')) FROM rows",
        EQUAL,
    ),
    Pair(
        "identifiers: stable_hash_any",
        "SELECT max(stable_hash_any(label, id)) FROM rows",
        "SELECT max(digest(concat_ws(chr(31), label, CAST(id AS varchar)), 'blake3')) FROM rows",
        EQUAL,
    ),
    Pair(
        "spans: make and overlap",
        "SELECT count(*) FROM rows WHERE span_overlaps(span_make(id, id + quantity), span_make(grp, grp + 1000))",
        "SELECT count(*) FROM (SELECT named_struct('start', id, 'end', id + quantity) AS a, "
        "named_struct('start', grp, 'end', grp + 1000) AS b FROM rows) q "
        "WHERE a['start'] < b['end'] AND b['start'] < a['end']",
        EQUAL,
    ),
    Pair(
        "spans: overlap of stored spans",
        "SELECT count(*) FROM nested WHERE span_overlaps(a, b)",
        "SELECT count(*) FROM nested WHERE a['unit'] = b['unit'] AND greatest(a['start'], b['start']) < "
        "least(a['end'], b['end'])",
        EQUAL,
    ),
    Pair(
        "spans: length of stored spans",
        "SELECT sum(span_len(a)) FROM nested",
        "SELECT sum(a['end'] - a['start']) FROM nested",
        EQUAL,
    ),
    Pair(
        "spans: a position in stored spans",
        "SELECT count(*) FROM nested WHERE span_contains(a, payload['size'])",
        "SELECT count(*) FROM nested WHERE a['start'] <= payload['size'] AND payload['size'] < a['end']",
        EQUAL,
    ),
    Pair(
        "spans: span_id",
        "SELECT sum(octet_length(span_id('span', label, id, id + quantity))) FROM rows",
        "SELECT sum(octet_length(concat('span:', encode(digest(concat_ws(chr(31), label, CAST(id AS varchar), "
        "CAST(id + quantity AS varchar)), 'blake3'), 'hex')))) FROM rows",
        EQUAL,
    ),
    Pair(
        "strings: utf8_normalize of ASCII",
        "SELECT sum(octet_length(utf8_normalize(label, 'NFC', true))) FROM rows",
        "SELECT sum(octet_length(lower(label))) FROM rows",
        EQUAL,
    ),
    Pair(
        "strings: utf8_normalize of ASCII in upper case",
        "SELECT sum(octet_length(utf8_normalize(upper(label), 'NFC', true))) FROM rows",
        "SELECT sum(octet_length(lower(upper(label)))) FROM rows",
        EQUAL,
    ),
    Pair(
        "strings: utf8_null_if_blank",
        "SELECT count(utf8_null_if_blank(label)) FROM rows",
        "SELECT count(nullif(trim(label), '')) FROM rows",
        EQUAL,
    ),
    Pair(
        "nested: list_unique_sorted",
        "SELECT sum(cardinality(list_unique_sorted(numbers))) FROM nested",
        "SELECT sum(cardinality(array_sort(array_distinct(numbers)))) FROM nested",
        EQUAL,
    ),
    Pair(
        "nested: list_compact",
        "SELECT sum(cardinality(list_compact(numbers))) FROM nested",
        "SELECT sum(cardinality(array_compact(numbers))) FROM nested",
        EQUAL,
    ),
    Pair(
        "nested: map_get_default",
        "SELECT sum(map_get_default(tags, 'b', 0)) FROM nested",
        "SELECT sum(coalesce(map_extract(tags, 'b')[1], 0)) FROM nested",
        EQUAL,
    ),
    Pair(
        "nested: struct_pick",
        "SELECT count(*) FROM nested WHERE struct_pick(payload, 'kind', 'size')['size'] > 3",
        "SELECT count(*) FROM nested WHERE named_struct('kind', payload['kind'], 'size', payload['size'])['size'] > 3",
        EQUAL,
    ),
    Pair(
        "aggregates: arg_max, 2,000 groups",
        "SELECT sum(v) FROM (SELECT grp, arg_max(quantity, id) AS v FROM rows GROUP BY grp) q",
        "SELECT sum(v) FROM (SELECT grp, last_value(quantity ORDER BY id) AS v FROM rows GROUP BY grp) q",
        GROUPED,
    ),
    Pair(
        "aggregates: collect_set, 2,000 groups",
        "SELECT sum(cardinality(v)) FROM (SELECT grp, collect_set(quantity) AS v FROM rows GROUP BY grp) q",
        "SELECT sum(cardinality(v)) FROM "
        "(SELECT grp, array_agg(DISTINCT quantity ORDER BY quantity) AS v FROM rows GROUP BY grp) q",
        GROUPED,
    ),
    Pair(
        "aggregates: count_if, 2,000 groups",
        "SELECT sum(v) FROM (SELECT grp, count_if(quantity > 50) AS v FROM rows GROUP BY grp) q",
        "SELECT sum(v) FROM (SELECT grp, count(*) FILTER (WHERE quantity > 50) AS v FROM rows GROUP BY grp) q",
        GROUPED,
    ),
    Pair(
        "aggregates: any_value_det, 2,000 groups",
        "SELECT max(v) FROM (SELECT grp, any_value_det(quantity, id) AS v FROM rows GROUP BY grp) q",
        "SELECT max(v) FROM (SELECT grp, first_value(quantity ORDER BY id) AS v FROM rows GROUP BY grp) q",
        GROUPED,
    ),
    Pair("exact sums: one group", "SELECT sum_exact(amount) FROM rows", "SELECT sum(amount) FROM rows", EXACT),
    Pair(
        "exact sums: 2,000 groups",
        "SELECT max(v) FROM (SELECT grp, sum_exact(amount) AS v FROM rows GROUP BY grp) q",
        "SELECT max(v) FROM (SELECT grp, sum(amount) AS v FROM rows GROUP BY grp) q",
        EXACT,
    ),
    Pair(
        "exact averages: 50,021 groups",
        "SELECT max(v) FROM (SELECT label, avg_exact(amount) AS v FROM rows GROUP BY label) q",
        "SELECT max(v) FROM (SELECT label, avg(amount) AS v FROM rows GROUP BY label) q",
        EXACT,
    ),
    Pair(
        "exact variances: 2,000 groups",
        "SELECT max(v) FROM (SELECT grp, var_samp_exact(amount) AS v FROM rows GROUP BY grp) q",
        "SELECT max(v) FROM (SELECT grp, var_samp(amount) AS v FROM rows GROUP BY grp) q",
        EXACT,
    ),
    Pair(
        "exact covariances: 2,000 groups",
        "SELECT max(v) FROM (SELECT grp, covar_samp_exact(amount, quantity) AS v FROM rows GROUP BY grp) q",
        "SELECT max(v) FROM (SELECT grp, covar_samp(amount, quantity) AS v FROM rows GROUP BY grp) q",
        EXACT,
    ),
    Pair(
        "exact correlations: one group",
        "SELECT corr_exact(amount, quantity) FROM rows",
        "SELECT corr(amount, quantity) FROM rows",
        EXACT,
    ),
    Pair(
        "change types: cdf_change_rank",
        "SELECT sum(cdf_change_rank(change)) FROM rows",
        "SELECT sum(CASE change WHEN 'update_preimage' THEN 0 WHEN 'delete' THEN 1 WHEN 'insert' THEN 2 "
        "WHEN 'update_postimage' THEN 3 END) FROM rows",
        EQUAL,
    ),
    Pair(
        "change types: cdf_is_delete",
        "SELECT count(*) FROM rows WHERE cdf_is_delete(change)",
        "SELECT count(*) FROM rows WHERE change = 'delete'",
        EQUAL,
    ),
    Pair(
        "change types: cdf_is_upsert",
        "SELECT count(*) FROM rows WHERE cdf_is_upsert(change)",
        "SELECT count(*) FROM rows WHERE change IN ('insert', 'update_postimage')",
        EQUAL,
    ),
)


def run(setting: Setting) -> Iterator[Result]:
    """Measure each pair on many rows, then on few rows in short batches."""
    root = setting.folder(NAME)
    measured: dict[str, list[Result]] = {}
    for rows, settings, remark in (
        (setting.choose(100_000, 10_000_000), {}, ""),
        (setting.choose(20_000, 1_000_000), {"datafusion.execution.batch_size": str(SHORT_BATCH)}, ", short batches"),
    ):
        setting.tell(f"write {rows:,} rows")
        tables = _write(root / str(rows), rows)
        profile = RuntimeProfile(settings=settings, target_partitions=PARTITIONS, durable=False)
        runtime = build_session_runtime(profile)
        for pair in PAIRS:
            setting.tell(f"{pair.case}, {rows:,} rows{remark}")
            rivals = {"ours": _query(runtime, pair.ours, tables), "built-in": _query(runtime, pair.rival, tables)}
            found = take_turns(rivals, setting.choose(2, 5))
            line = timed(
                NAME,
                f"{pair.case}, {rows:,} rows{remark}",
                found["ours"],
                against=("built-in", found["built-in"]),
                goal=pair.goal,
                goal_of_ratio=True,
            )
            measured.setdefault(pair.family, []).append(line)
            yield line
    for family, lines in measured.items():
        yield _of_family(family, lines, next(pair.goal for pair in PAIRS if pair.family == family))


def _of_family(family: str, lines: Sequence[Result], goal: Goal) -> Result:
    """The geometric mean of a family's ratios."""
    ratios = [line.ratio for line in lines if line.ratio is not None]
    mean = geometric_mean(ratios)
    return Result(
        benchmark=NAME,
        case=f"the family of {family}",
        value=mean,
        unit="",
        low=min(ratios),
        high=max(ratios),
        runs=len(ratios),
        against="built-in",
        ratio=mean,
        goal=goal.text,
        met=goal.met(mean),
    )


def _query(runtime: SessionRuntime, sql: str, tables: tuple[TableSpec, ...]) -> Work:
    return lambda: runtime.query(sql, tables=tables).read_all()


def _write(folder: Path, rows: int) -> tuple[TableSpec, ...]:
    """Write the tables that the queries read."""
    for first in range(0, rows, FILE_ROWS):
        part = synthetic(first, min(FILE_ROWS, rows - first))
        words = pa.array(["insert", "delete", "update_preimage", "update_postimage"])
        part = part.append_column("change", words.take(pc.bit_wise_and(part["quantity"], 3).combine_chunks()))
        write_deltalake(folder / "rows", part, mode="append")
        write_deltalake(folder / "nested", _nested(part), mode="append")
    return tuple(TableSpec.delta(name, TableRef(uri=str(folder / name))) for name in ("rows", "nested"))


def _nested(part: pa.Table) -> pa.Table:
    """Lists of four numbers with repetitions, structs of three fields, maps of two entries, and two spans."""
    count = part.num_rows
    columns = (part["quantity"], part["kind"], pc.bit_wise_and(part["grp"], 7), part["quantity"])
    flat = pa.concat_arrays([pc.cast(column, pa.int64()).combine_chunks() for column in columns])
    # One number of each column for each row: row after row instead of column after column.
    order = np.arange(4 * count).reshape(4, count).T.reshape(-1)
    offsets = pa.array(np.arange(0, 4 * count + 1, 4, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, flat.take(pa.array(order)))
    fields = {"kind": part["kind"], "size": part["grp"], "label": part["label"]}
    payload = pa.StructArray.from_arrays([one.combine_chunks() for one in fields.values()], names=list(fields))
    ends = pa.array(np.arange(0, 2 * count + 1, 2, dtype=np.int32))
    tags = pa.MapArray.from_arrays(ends, pa.array(["a", "b"] * count), flat.slice(0, 2 * count))
    a, b = (_spans(pc.cast(part[column], pa.int64()).combine_chunks()) for column in ("id", "grp"))
    return pa.table({"numbers": lists, "payload": payload, "tags": tags, "a": a, "b": b})


def _spans(starts: pa.Array) -> pa.StructArray:
    """A span of a thousand bytes from each start on."""
    units = pa.array(["byte"]).take(pa.array(np.zeros(len(starts), dtype=np.int64)))
    return pa.StructArray.from_arrays([starts, pc.add(starts, 1000), units], names=["start", "end", "unit"])
