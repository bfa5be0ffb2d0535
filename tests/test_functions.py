"""A walk over the registry of functions: each has wrapper, documentation, examples that hold, tags and tests."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from datafusion import Expr, col

import datafusion_ext
from registry.functions import FunctionEntry, udf_docs
from tests.function_examples import examples
from tests.sources import ROOT, rust_files

FUNCTIONS = udf_docs()
NAMES = [function.name for function in FUNCTIONS]
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)


def parameters(function: FunctionEntry) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(datafusion_ext, function.name)).parameters.values())


@every_function
def test_it_has_a_typed_wrapper_with_the_names_of_its_arguments(function: FunctionEntry) -> None:
    assert function.name in datafusion_ext.__all__
    wrapper = getattr(datafusion_ext, function.name)
    assert (wrapper.__doc__ or "").strip()
    assert tuple(documented_name(one) for one in parameters(function)) == function.argument_names
    assert wrapper.__annotations__["return"] == "Expr"
    assert all(one.annotation.startswith("Argument") for one in parameters(function))


def documented_name(parameter: inspect.Parameter) -> str:
    """Give the name in SQL; of any number of arguments only the first has one: `part1` of `*parts`."""
    if parameter.kind is not parameter.VAR_POSITIONAL:
        return parameter.name
    return f"{parameter.name.removesuffix('s')}{'' if parameter.name == 'fields' else '1'}"


@every_function
def test_its_wrapper_makes_a_call_of_it(function: FunctionEntry) -> None:
    required = [one for one in parameters(function) if one.default is one.empty]
    expression = getattr(datafusion_ext, function.name)(*(col(one.name) for one in required))
    assert isinstance(expression, Expr)
    assert str(expression).startswith(f"Expr({function.name}("), expression


def test_there_is_no_wrapper_of_a_function_that_does_not_exist() -> None:
    wrappers = [
        name
        for name in datafusion_ext.__all__
        if inspect.isfunction(getattr(datafusion_ext, name)) and name != "register_functions"
    ]
    assert sorted(wrappers) == sorted(NAMES)
    assert sorted(capsule.name for capsule in datafusion_ext.udf_capsules()) == sorted(NAMES)


@every_function
def test_it_is_documented_with_arguments_examples_and_tags(function: FunctionEntry) -> None:
    documentation = function.documentation
    assert documentation is not None
    assert documentation.description
    assert documentation.section
    assert documentation.syntax.startswith(f"{function.name}(")
    assert tuple(name for name, _ in documentation.arguments) == function.argument_names
    assert all(meaning for _, meaning in documentation.arguments)
    assert examples(function)
    assert function.rewrite_tags
    assert f"### `{function.name}`\n" in (ROOT / "docs" / "functions.md").read_text()


FAMILIES = {
    "aggregates": {"aggregate", "deterministic"},
    "change_types": {"cdf", "delta", "incremental"},
    "exact_sums": {"aggregate", "deterministic"},
    "identifiers": {"hash", "id"},
    "nested": {"nested"},
    "spans": {"position_encoding", "span"},
    "strings": {"string_norm"},
}
OWN_TAGS = {
    **{name: {"list"} for name in ("list_compact", "list_unique_sorted")},
    **{name: {"map"} for name in ("map_get_default", "map_normalize")},
    "struct_pick": {"struct"},
    "span_id": {"hash", "id"},
    "qname_normalize": {"symbol"},
    **{name: {"incremental"} for name in datafusion_ext.__all__ if name.startswith("exact_")},
}


@every_function
def test_it_carries_the_tags_of_its_family_and_its_own(function: FunctionEntry) -> None:
    family = getattr(datafusion_ext, function.name).__module__.removeprefix("datafusion_ext.")
    assert set(function.rewrite_tags) == FAMILIES[family] | OWN_TAGS.get(function.name, set())
    assert list(function.rewrite_tags) == sorted(function.rewrite_tags)


@every_function
def test_a_rust_test_names_it_or_its_whole_family(function: FunctionEntry) -> None:
    if re.search(rf"\b{function.name}\b", "\n".join(rust_tests().values())):
        return
    families = [path for path in rust_files("functions") if f'"{function.name}"' in path.read_text()]
    tests = [text for path, text in rust_tests().items() if path.parent in {family.parent for family in families}]
    assert any("::ALL" in text for text in tests), f"no test in rust/functions is about {function.name}"


@cache
def rust_tests() -> dict[Path, str]:
    return {path: _tests_of(path) for path in rust_files("functions")}


def _tests_of(path: Path) -> str:
    text = path.read_text()
    if path.stem.endswith("tests") or "tests" in path.parent.name:
        return text
    return text.partition("#[cfg(test)]\nmod tests")[2]


def test_plain_values_become_literals_and_others_are_refused() -> None:
    assert "insert" in str(datafusion_ext.cdf_is_upsert("insert"))
    with pytest.raises(TypeError, match="cdf_is_upsert takes expressions"):
        datafusion_ext.cdf_is_upsert(object())  # type: ignore[arg-type]
