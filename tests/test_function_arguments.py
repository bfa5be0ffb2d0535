"""Every function with every representation of its arguments: the rows, the field that was announced, and both sessions.

The Rust tests hold each family to its model; this file holds all functions alike to what none of them may do: give
other rows for another representation, for a slice, for literals, or in the session of the PyPI `datafusion`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pytest
from datafusion import Expr, SessionContext, col, lit

import datafusion_ext
from registry.functions import FunctionEntry, udf_docs
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime

FUNCTIONS: Final = udf_docs()
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=[function.name for function in FUNCTIONS])

TEXTS: Final = pa.array(["Stra\u00dfe e\u0301", None, " ", "a.b", "", "caf\u00e9"])
NAMES: Final = pa.array(["f", "g", None, "C.m", "f", "\ufb01"])
WORDS: Final = pa.array(["insert", "delete", None, "update_preimage", "update_postimage", "insert"])
SMALL: Final = pa.array([3, None, 0, 100, 7, 7])
LARGER: Final = pa.array([9, 120, None, 100, 8, 7])
FLOATS: Final = pa.array([1.5, None, -0.25, 100.0, 0.0, 8.0])
OTHERS: Final = pa.array([0.5, 4.0, None, 2.0, -8.0, 1.0])
FLAGS: Final = pa.array([True, None, False, True, True, False])
LISTS: Final = pa.array([["b", "a"], None, ["a", None], ["b", "b"], ["", None], ["c", "d"]])
MAPS: Final = pa.array(
    [[("f", 1), ("a", 2)], [], [("g", 5)], None, [("f", None)], [("z", 9)]], pa.map_(pa.string(), pa.int64())
)
STRUCTS: Final = pa.array(
    [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 4, "b": None}, {"a": 5, "b": ""}, {"a": 6, "b": "z"}],
    pa.struct([("a", pa.int64()), ("b", pa.string())]),
)
FORMS: Final = pa.array(["NFC", "NFD", "NFKC", None, "nfkd", "NFD"])
LANGUAGES: Final = pa.array(["python", "neutral", None, "python", "neutral", "python"])
UNITS: Final = pa.array(["byte", "utf16", "byte", "codepoint", "byte", None])
WEIGHTS: Final = pa.array([1, 2, 1, None, 5, 3])
# Of 1 and 2, of no rows, and of -2: kind, format, number of rows, sign and exponent, bytes of the number.
STATES: Final = pa.array(
    [bytes([1, 1, 4, 1, 0, 2, 3]), None, bytes([1, 1, 0, 0]), bytes([1, 1, 2, 3, 2, 2, 1]), bytes([1, 1, 0, 0]), None]
)
STATISTICS: Final = pa.array(["sum", "avg", "sum", "avg", "avg", None])
SPAN: Final = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("unit", pa.string())])
ROWS: Final = len(TEXTS)
GROUPS: Final = pa.array([1, 2, 1, 2, 1, 1], pa.int32())
FIELDS: Final = ("b", "a")
"""The fields that `struct_pick` picks: names are literals."""


def spans(starts: list[int | None], ends: list[int | None]) -> pa.Array:
    pairs = zip(starts, ends, strict=True)
    return pa.array(
        [None if a is None or b is None else {"start": a, "end": b, "unit": "byte"} for a, b in pairs], SPAN
    )


FIRST: Final = spans([0, 3, None, 5, 2, 4], [4, 8, 1, 5, 9, 4])
SECOND: Final = spans([3, 8, 0, None, 3, 4], [8, 9, 1, 2, 5, 4])
VALUES: Final = (TEXTS, SMALL, FLOATS, LISTS, STRUCTS)
SAMPLES: Final[dict[str, tuple[pa.Array, ...]]] = {
    **dict.fromkeys(("cdf_change_rank", "cdf_is_delete", "cdf_is_upsert"), (WORDS,)),
    **dict.fromkeys(("any_value_det", "arg_max", "arg_min"), (TEXTS, SMALL)),
    "collect_set": (TEXTS,),
    "count_if": (FLAGS,),
    **dict.fromkeys(("prefixed_hash_parts64", "stable_id_parts"), (NAMES, *VALUES)),
    "stable_hash_any": VALUES,
    **dict.fromkeys(("list_compact", "list_unique_sorted"), (LISTS,)),
    "map_get_default": (MAPS, NAMES, SMALL),
    "map_normalize": (MAPS,),
    "struct_pick": (STRUCTS,),
    **dict.fromkeys(("span_contains", "span_overlaps"), (FIRST, SECOND)),
    "span_len": (FIRST,),
    "span_id": (NAMES, TEXTS, SMALL, LARGER),
    "span_make": (SMALL, LARGER, UNITS),
    "qname_normalize": (NAMES, TEXTS, LANGUAGES),
    "utf8_normalize": (TEXTS, FORMS, FLAGS),
    "utf8_null_if_blank": (TEXTS,),
    **dict.fromkeys(("exact_sum_state", "exact_var_state"), (FLOATS, WEIGHTS)),
    **dict.fromkeys(("exact_covar_state", "exact_regr_state"), (FLOATS, OTHERS, WEIGHTS)),
    "exact_state_merge": (STATES,),
    "exact_state_value": (STATES, STATISTICS),
}


def samples(function: FunctionEntry) -> tuple[pa.Array, ...]:
    """Return a column of arguments for each parameter; the sums take floats."""
    if function.name.endswith("_exact"):
        return (FLOATS, OTHERS)[: len(function.argument_names)]
    return SAMPLES[function.name]


@dataclass(frozen=True)
class Session:
    """The native session, and one of the PyPI package that has the functions."""

    native: SessionRuntime
    foreign: SessionContext

    def sql(self, function: FunctionEntry, table: pa.Table, arguments: tuple[str, ...]) -> pa.Table:
        """Call in SQL in the native session."""
        call = f"{function.name}({', '.join(arguments)}) AS result"
        query = f"SELECT {call} FROM t ORDER BY n"
        if function.kind == "aggregate":
            query = f"SELECT g, {call} FROM t GROUP BY g ORDER BY g"
        found = self.native.query(query, tables=(TableSpec.memory("t", table),)).read_all()
        return found.select(["result"])

    def frame(self, function: FunctionEntry, table: pa.Table, arguments: tuple[Expr, ...]) -> pa.Table:
        """Call by the wrapper in the foreign session."""
        call = getattr(datafusion_ext, function.name)(*arguments).alias("result")
        frame = self.foreign.from_arrow(table)
        if function.kind == "aggregate":
            found = frame.aggregate([col("g")], [call]).sort(col("g"))
        else:
            found = frame.sort(col("n")).select(call)
        return found.to_arrow_table().select(["result"])


@pytest.fixture(scope="module")
def session() -> Session:
    foreign = SessionContext()
    datafusion_ext.register_functions(foreign)
    return Session(build_session_runtime(RuntimeProfile(durable=False, target_partitions=2)), foreign)


def table_of(
    columns: tuple[pa.Array, ...], *, nullable: bool = True, metadata: dict[str, str] | None = None
) -> pa.Table:
    """Build a table of arguments `c0`, `c1` and so on, with the number and the group of each row."""
    fields = [
        pa.field(f"c{place}", column.type, nullable=nullable, metadata=metadata) for place, column in enumerate(columns)
    ]
    numbers = pa.array(range(len(columns[0])), pa.int64())
    schema = pa.schema([*fields, pa.field("n", pa.int64()), pa.field("g", pa.int32())])
    return pa.table([*columns, numbers, GROUPS.take(numbers)], schema=schema)


def names(function: FunctionEntry) -> tuple[str, ...]:
    picked = tuple(f"'{field}'" for field in FIELDS) if function.name == "struct_pick" else ()
    return tuple(f"c{place}" for place in range(len(samples(function)))) + picked


def expressions(function: FunctionEntry) -> tuple[Expr, ...]:
    picked = tuple(lit(field) for field in FIELDS) if function.name == "struct_pick" else ()
    return tuple(col(f"c{place}") for place in range(len(samples(function)))) + picked


def representations(column: pa.Array) -> Iterator[pa.Array]:
    """Return the same values in every representation that Arrow has for them, dictionaries included."""
    kind = column.type
    if pa.types.is_string(kind):
        yield from (column.cast(other) for other in (pa.large_string(), pa.string_view()))
        yield column.dictionary_encode()
        yield pa.DictionaryArray.from_arrays(
            column.dictionary_encode().indices.cast(pa.int8()),
            column.dictionary_encode().dictionary.cast(pa.large_string()),
        )
    elif pa.types.is_int64(kind):
        yield from (column.cast(other) for other in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint64()))
        yield column.dictionary_encode()
    elif pa.types.is_float64(kind):
        yield column.cast(pa.float32())
        yield column.dictionary_encode()
    elif pa.types.is_binary(kind):
        yield from (column.cast(other) for other in (pa.large_binary(), pa.binary_view()))
    elif pa.types.is_list(kind):
        yield column.cast(pa.large_list(kind.value_type))
        yield column.cast(pa.list_(kind.value_type, 2))
        yield column.cast(pa.list_(pa.large_string()))
        yield column.cast(pa.list_(pa.string_view()))
    elif kind == SPAN:
        fields = [column.field(place) for place in range(3)]
        narrow = [fields[0].cast(pa.int32()), fields[1].cast(pa.uint8()), fields[2].dictionary_encode()]
        yield pa.StructArray.from_arrays(narrow, ["start", "end", "unit"], mask=column.is_null())


def values(table: pa.Table) -> list[Any]:
    found: list[Any] = table["result"].to_pylist()
    return found


@every_function
def test_a_representation_changes_no_row_in_either_session(function: FunctionEntry, session: Session) -> None:
    columns = samples(function)
    expected = values(session.sql(function, table_of(columns), names(function)))
    assert any(value is not None for value in expected)
    assert values(session.frame(function, table_of(columns), expressions(function))) == expected
    for place, column in enumerate(columns):
        for other in representations(column):
            assert other.to_pylist() == column.to_pylist()
            table = table_of((*columns[:place], other, *columns[place + 1 :]))
            about = f"argument {place + 1} is {other.type}"
            assert values(session.sql(function, table, names(function))) == expected, about
            assert values(session.frame(function, table, expressions(function))) == expected, about


OF_TWO: Final = [(name, place) for name in ("any_value_det", "arg_max", "arg_min") for place in (0, 1)]


@pytest.mark.parametrize(("name", "place"), [("collect_set", 0), *OF_TWO])
def test_an_aggregate_over_lists_takes_every_representation(name: str, place: int, session: Session) -> None:
    (function,) = (one for one in FUNCTIONS if one.name == name)
    columns = samples(function)

    def found(lists: pa.Array) -> list[Any]:
        table = table_of((*columns[:place], lists, *columns[place + 1 :]))
        here = values(session.sql(function, table, names(function)))
        assert values(session.frame(function, table, expressions(function))) == here
        return here

    expected = found(LISTS)
    assert all(found(other) == expected for other in representations(LISTS))
    assert expected[0] is not None


@every_function
def test_slices_pieces_and_empty_batches_change_no_row(function: FunctionEntry, session: Session) -> None:
    whole = table_of(samples(function))
    expected = values(session.sql(function, whole, names(function)))
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 3), whole.slice(4)])
    assert len(pieces["c0"].chunks) >= 3
    assert values(session.sql(function, pieces, names(function))) == expected
    empty = session.sql(function, whole.slice(2, 0), names(function))
    assert empty.num_rows == 0
    assert empty.schema.types == session.sql(function, whole, names(function)).schema.types
    if function.kind == "scalar":
        for first in range(ROWS):
            part = session.sql(function, whole.slice(first, 2), names(function))
            assert values(part) == expected[first : first + 2]


def written(value: Any, kind: pa.DataType) -> str:
    """Return a value as SQL has it, with the type of its column."""
    if value is None:
        return f"arrow_cast(NULL, '{ARROW_NAMES[kind]}')" if kind in ARROW_NAMES else "NULL"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if pa.types.is_list(kind):
        return f"[{', '.join(written(one, kind.value_type) for one in value)}]"
    if pa.types.is_map(kind):
        entries = [f"{written(key, kind.key_type)}: {written(one, kind.item_type)}" for key, one in value]
        return f"MAP {{{', '.join(entries)}}}"
    if pa.types.is_struct(kind):
        fields = [f"'{field.name}', {written(value[field.name], field.type)}" for field in kind]
        return f"named_struct({', '.join(fields)})"
    return f"arrow_cast({value}, 'Float64')" if isinstance(value, float) else str(value)


ARROW_NAMES: Final = {
    pa.string(): "Utf8",
    pa.int64(): "Int64",
    pa.float64(): "Float64",
    pa.bool_(): "Boolean",
    pa.binary(): "Binary",
}


@pytest.mark.parametrize(
    "function",
    [function for function in FUNCTIONS if function.kind == "scalar"],
    ids=[function.name for function in FUNCTIONS if function.kind == "scalar"],
)
def test_literals_give_what_columns_give(function: FunctionEntry, session: Session) -> None:
    columns = samples(function)
    whole = table_of(columns)
    expected = values(session.sql(function, whole, names(function)))
    compared = 0
    for row in range(ROWS):
        texts = [written(column[row].as_py(), column.type) for column in columns]
        if any(text in {"NULL", "MAP {}"} for text in texts):
            continue
        picked = names(function)[len(columns) :]
        assert values(session.sql(function, whole.slice(row, 1), (*texts, *picked))) == [expected[row]]
        for place, text in enumerate(texts):
            mixed = (*names(function)[:place], text, *names(function)[place + 1 :])
            assert values(session.sql(function, whole.slice(row, 1), mixed)) == [expected[row]]
        compared += 1
    assert compared >= 3


def announced(function: FunctionEntry, session: Session, table: pa.Table) -> pa.Field:
    """Return the field of the result, which must be the same in both sessions and true of the rows."""
    here = session.sql(function, table, names(function))
    there = session.frame(function, table, expressions(function))
    field, other = here.schema.field("result"), there.schema.field("result")
    assert (field.type, field.nullable, field.metadata) == (other.type, other.nullable, other.metadata)
    assert field.nullable or here["result"].null_count == 0
    return field


@every_function
def test_the_field_that_is_announced_is_that_of_the_return_rule(function: FunctionEntry, session: Session) -> None:
    columns, marked = samples(function), {"unit": "m"}
    full = pa.array([row for row in range(ROWS) if all(column[row].is_valid for column in columns)])
    assert len(full) > 0
    of_some = announced(function, session, table_of(columns, metadata=marked))
    of_all = announced(
        function, session, table_of(tuple(one.take(full) for one in columns), nullable=False, metadata=marked)
    )
    rule = function.return_rule
    follows = "nullable if" in rule or "nullability" in rule
    never = "never NULL" in rule
    assert follows or never or rule.endswith("nullable"), rule
    assert (of_some.nullable, of_all.nullable) == (not never, not never and not follows), rule
    # The set is a list of the values; what is looked up in a map has the metadata of the map's own values.
    kept = of_some.type.value_field if function.name == "collect_set" else of_some
    keeps = "metadata" in rule and function.name != "map_get_default"
    assert kept.metadata == ({b"unit": b"m"} if keeps else None), rule
