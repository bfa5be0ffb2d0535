from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import datafusion_ext
from registry import errors
from registry.errors import (
    DefinitionError,
    DeltakeepError,
    MustRecompute,
    MustStop,
    PlanAgain,
    Problem,
    RetryLater,
    from_native,
)
from registry.reasons import ABOVE_ENGINE, ReasonCode


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        ("store_error", RetryLater, 75),
        ("commit_conflict", PlanAgain, 6),
        ("history_gone", MustRecompute, 1),
        ("not_ours", MustStop, 4),
        ("not_a_table", MustStop, 5),
        ("newer_format", MustStop, 78),
        ("a_code_of_the_future", MustStop, 1),
    ],
)
def test_a_native_code_says_how_to_react(code: str, kind: type[DeltakeepError], exit_code: int) -> None:
    error = from_native(code, "table 'x'")
    assert type(error) is kind
    assert (error.code, error.message, error.exit_code) == (code, "table 'x'", exit_code)


def test_a_definition_error_tells_every_problem_with_its_place() -> None:
    first = Problem("views/a.sql", 3, 'unknown key "x"', "one of a, b", 'did you mean "a"?')
    second = Problem("deltakeep.toml", None, "the file does not exist")
    error = DefinitionError([first, second])
    assert str(error) == (
        '2 problems:\nviews/a.sql:3: unknown key "x"; expected one of a, b\n    hint: did you mean "a"?\n'
        "deltakeep.toml: the file does not exist"
    )
    assert error.exit_code == 78
    assert error.to_json()["problems"] == [first.to_json(), second.to_json()]


@pytest.mark.parametrize("reason", list(ReasonCode))
def test_every_reason_has_words(reason: ReasonCode) -> None:
    assert reason.text
    assert reason.value == reason.name.lower()


def test_the_engine_knows_the_same_reasons() -> None:
    known = json.loads(datafusion_ext.reason_codes())
    assert sorted(reason["code"] for reason in known) == sorted(set(ReasonCode) - ABOVE_ENGINE)


def test_every_code_of_the_engine_has_a_reaction() -> None:
    sources = [Path(__file__).parents[2] / "rust" / crate / "src" / "error.rs" for crate in ("engine", "lake")]
    codes = {code for path in sources for code in re.findall(r'=> "([a-z_]+)",', path.read_text(encoding="utf-8"))}
    assert "history_gone" in codes
    assert codes <= set(errors._NATIVE)
