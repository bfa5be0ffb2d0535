from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Problem
from registry.toml_document import key_lines, parse_toml, text, texts


def test_values_over_several_lines_do_not_confuse_the_lines() -> None:
    document = "\n".join(
        [
            'a = """',
            "[not.a.table]",
            'x = 1"""',
            "b = [",
            '  "[ # \\" ", # [',
            "  'y = 1',",
            "]",
            "[c . 'd.e']  # comment [",
            "f = { g = [",
            " 1 ] }",
            "h.i = 2",
        ]
    )
    tomllib.loads(document)
    assert key_lines(document) == {
        ("a",): 1,
        ("b",): 4,
        ("c", "d.e"): 8,
        ("c", "d.e", "f"): 9,
        ("c", "d.e", "h"): 11,
        ("c", "d.e", "h", "i"): 11,
    }


keys = st.text("abcxyz_", min_size=1, max_size=5)
scalars = st.one_of(st.integers(), st.booleans(), st.text("ab[]{}#='\n", max_size=8))


def written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return '"""' + value.replace("\\", "\\\\").replace('"', '\\"') + 'x"""'
        case _:
            return "[" + ",\n".join(written(one) for one in value) + "]"


@given(st.dictionaries(keys, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=6))
def test_each_key_of_any_document_has_the_line_where_it_is_written(values: dict[str, Any]) -> None:
    lines: list[str] = []
    expected = {}
    for key, value in values.items():
        expected[(key,)] = "\n".join(lines).count("\n") + 2 if lines else 1
        lines.append(f"{key} = {written(value)}")
    document = "\n".join(lines)
    tomllib.loads(document)
    assert key_lines(document) == expected


def test_what_nobody_asked_for_is_reported_after_what_is_wrong() -> None:
    problems: list[Problem] = []
    section = parse_toml('name = 3\ntag = ["a", "a"]\nnmae = "x"', "f.toml", 10, problems)
    assert section is not None
    assert section.take("name", text, "none") == "none"
    assert section.take("tag", texts, tuple[str, ...]()) == ()
    section.finish()
    assert [(problem.line, problem.what) for problem in problems] == [
        (10, '"name" is 3'),
        (11, "\"tag\" is ['a', 'a']"),
        (12, 'unknown key "nmae"'),
    ]
    assert problems[2].hint == 'did you mean "name"?'


def test_a_secret_never_reaches_a_problem() -> None:
    problems: list[Problem] = []
    section = parse_toml('storage_options = "hunter2"', "f.toml", 1, problems)
    assert section is not None
    section.take("storage_options", texts, tuple[str, ...]())
    assert parse_toml("[a]\nstorage_options = { key = hunter2 }", "f.toml", 1, problems) is None
    assert "hunter2" not in "".join(map(str, problems))
