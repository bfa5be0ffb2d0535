"""What is wrong with a call is told with the function, the argument and, where there is one, the row."""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
import pytest

from registry.errors import DeltakeepError, MustStop
from registry.functions import FunctionEntry, udf_docs
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime

FUNCTIONS: Final = udf_docs()
ROWS: Final = pa.table(
    {"a": [1, 5], "b": [4, 1], "w": ["byte", "char"], "u": ["byte", "utf16"], "f": [None, "NFX"]},
)


@pytest.fixture(scope="module")
def native() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(durable=False))


def refusal(native: SessionRuntime, call: str) -> str:
    with pytest.raises(MustStop) as caught:
        native.query(f"SELECT {call} AS result")
    return str(caught.value)


@pytest.mark.parametrize("function", FUNCTIONS, ids=[function.name for function in FUNCTIONS])
def test_a_call_without_arguments_names_the_function_and_its_arguments(
    function: FunctionEntry, native: SessionRuntime
) -> None:
    message = refusal(native, f"{function.name}()")
    assert f"{function.name}()" in message
    # The planner itself has no names for any number of arguments of any type.
    if function.name != "struct_pick":
        assert all(re.search(rf"\b{name}: ", message) for name in function.argument_names), message


WRONG_TYPES: Final = {
    **{f"{name}(1)": f"{name}(change_type: String)" for name in ("cdf_change_rank", "cdf_is_delete", "cdf_is_upsert")},
    "count_if('a')": "count_if(condition: Boolean)",
    "sum_exact('a')": "sum_exact(x: Float64)",
    "corr_exact(1.0, 'a')": "corr_exact(y: Float64, x: Float64)",
    "prefixed_hash_parts64(1, 2)": 'prefixed_hash_parts64: argument "prefix" is a string',
    "stable_id_parts(1, 2)": 'stable_id_parts: argument "prefix" is a string',
    "list_compact(1)": 'list_compact: argument "list" must be a list, not Int64',
    "list_unique_sorted('a')": 'list_unique_sorted: argument "list" must be a list, not Utf8',
    "map_get_default(1, 2, 3)": 'map_get_default: argument "map"',
    "map_normalize([1])": 'map_normalize: argument "map"',
    "struct_pick(1, 'a')": 'struct_pick: argument "struct"',
    "struct_pick({'a': 1}, 'b')": 'struct_pick: the struct has no field "b"',
    "span_contains('a', 1)": 'span_contains: argument "a"',
    "span_id('s', 1, 2, 3)": 'span_id: argument "path" is a string',
    "span_len('a')": 'span_len: argument "span" is a span',
    "span_make(1, 2, 3)": 'span_make: argument "col_unit" is a string',
    "span_overlaps(span_make(1, 2), 1)": 'span_overlaps: argument "b" is a span',
    "qname_normalize('a', 1)": 'qname_normalize: argument "module" is a string',
    "utf8_normalize('a', 'NFC', 'yes')": 'utf8_normalize: argument "casefold" is a boolean',
    "utf8_null_if_blank(1)": 'utf8_null_if_blank: argument "value" is a string',
}


@pytest.mark.parametrize(("call", "told"), WRONG_TYPES.items(), ids=list(WRONG_TYPES))
def test_an_argument_of_a_wrong_type_is_told_with_function_and_argument(
    native: SessionRuntime, call: str, told: str
) -> None:
    assert told in refusal(native, call)


WRONG_ROWS: Final = {
    "span_make(a, b)": 'span_make: argument "end" is 1 in row 2 of the batch, before the start 5',
    "span_make(a, b + 9, w)": 'span_make: argument "col_unit" is "char" in row 2 of the batch',
    "span_id('s', w, a, b)": 'span_id: argument "end" is 1 in row 2 of the batch',
    "span_len(named_struct('start', a, 'end', b, 'unit', 'byte'))": 'the end of argument "span" is 1 in row 2 of',
    "span_overlaps(span_make(a, 9, 'byte'), span_make(a, 9, u))": "are in different units in row 2 of the batch",
    "utf8_normalize(w, f)": 'utf8_normalize: argument "form" is "NFX" in row 2 of the batch',
    "qname_normalize(w, w, f)": 'qname_normalize: argument "lang" is "NFX" in row 2 of the batch',
}


@pytest.mark.parametrize(("call", "told"), WRONG_ROWS.items(), ids=list(WRONG_ROWS))
def test_a_malformed_value_is_told_with_function_argument_and_row(native: SessionRuntime, call: str, told: str) -> None:
    with pytest.raises(DeltakeepError) as caught:
        native.query(f"SELECT {call} AS result FROM t", tables=(TableSpec.memory("t", ROWS),)).read_all()
    assert told in str(caught.value)
