from __future__ import annotations

import doctest
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import delta_schema, functions, location, names, quantities, toml_document
from registry.names import did_you_mean, name_problem
from registry.quantities import format_duration, parse_duration_ms, parse_size


@pytest.mark.parametrize("module", [delta_schema, functions, location, names, quantities, toml_document])
def test_the_examples_in_docstrings_run(module: types.ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert parse_duration_ms(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize("text", ["", "1", "m", "30m1h", "-1s", "1 fortnight", "1h 30m", "h1"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("1.5kB", 1500), ("4GB", 4 * 10**9), ("4 GiB", 4 << 30), ("2T", 2 * 10**12)]
)
def test_sizes_have_decimal_and_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1XB", "-1MB", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("orders", None),
        ("_2024", None),
        ("Order Lines", 'use "order_lines"'),
        ("2024", 'use "_2024"'),
        ("é", "use letters, digits and underscores"),
        ("deltakeep", "this name is reserved, use another one"),
        ("__weight", "this name is reserved, use another one"),
        ("a" * 65, "use at most 64 characters"),
    ],
)
def test_a_wrong_name_gets_a_better_one(text: str, problem: str | None) -> None:
    assert name_problem(text) == problem


def test_a_hint_names_the_nearest_or_all() -> None:
    assert did_you_mean("oders", ["orders", "planes"]) == 'did you mean "orders"?'
    assert did_you_mean("x", ["orders", "planes"]) == "known: orders, planes"
    assert did_you_mean("x", []) == "there are none"
