from __future__ import annotations

import pytest

from registry.errors import Problem
from registry.view import SqlDefinition
from registry.view_files import ParsedView, parse_python_views, parse_sql_view, source_digest
from registry.view_options import ViewOptions


def read_sql(text: str) -> tuple[ParsedView | None, list[Problem]]:
    problems: list[Problem] = []
    return parse_sql_view("views/a.sql", "a", text, ViewOptions(), problems), problems


def read_python(text: str) -> tuple[list[ParsedView], list[str]]:
    problems: list[Problem] = []
    views = parse_python_views(
        "views/a.py", "/p/views/a.py", text, digest="d", defaults=ViewOptions(), problems=problems
    )
    return views, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "query", "line"),
    [
        ("SELECT 1", "SELECT 1", 1),
        ("\n\nSELECT 1;\n", "SELECT 1", 3),
        ("/* */\n/* a comment */ SELECT 1", "/* a comment */ SELECT 1", 2),
        ("\ufeff/*\nrefresh = 'auto'\n*/ SELECT 1", "SELECT 1", 3),
        ("-- note\nSELECT '/* no header */'", "-- note\nSELECT '/* no header */'", 1),
    ],
)
def test_a_query_begins_after_its_header(text: str, query: str, line: int) -> None:
    view, problems = read_sql(text)
    assert not problems
    assert view is not None
    assert view.definition == SqlDefinition(query, line)


def test_a_leading_comment_that_is_no_toml_says_what_it_is_for() -> None:
    view, problems = read_sql("/* Sales by day. */\nSELECT 1")
    assert view is None
    assert problems[0].line == 1
    assert "holds the view's options; write other comments with --" in problems[0].hint


def test_a_comment_without_an_end_is_named() -> None:
    _, problems = read_sql("/* refresh = 'auto'\nSELECT 1")
    assert problems[0].what == "the leading comment has no end"


@pytest.mark.parametrize(
    "head",
    [
        "from registry.authoring import view\n@view\n",
        "from registry.authoring import view as v\n@v()\n",
        "import registry.authoring\n@registry.authoring.view\n",
        "import registry.authoring as a\n@a.view()\n",
        "from registry import authoring\n@authoring.view()\n",
    ],
)
def test_the_decorator_is_known_by_every_import(head: str) -> None:
    views, problems = read_python(head + "def late(orders): ...\n")
    assert not problems
    assert [view.name for view in views] == ["late"]


def test_another_decorator_named_view_declares_nothing() -> None:
    views, problems = read_python("from flask import view\n@view\ndef late(orders): ...\n")
    assert (views, problems) == ([], [])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@view('5m')\ndef late(orders): ...", "@view takes no positional arguments"),
        (
            "LAG = '5m'\n@view(target_lag=LAG)\ndef late(orders): ...",
            'views/a.py:3: the option "target_lag" is computed',
        ),
        ("@view(**{})\ndef late(orders): ...", "@view takes no **options"),
        ("@view(targetlag='1m')\ndef late(orders): ...", 'did you mean "target_lag"?'),
        ("@view\ndef late(): ...", 'view "late" takes no arguments'),
        ("@view\ndef late(*orders): ...", 'view "late" takes any number of arguments'),
        ("@view\ndef late(orders=None): ...", 'view "late" takes an argument with a default'),
        ("@view\nasync def late(orders): ...", 'view "late" is async'),
        ("@view\ndef Late(orders): ...", 'use "late"'),
        ("def late(:", "views/a.py:2: not valid Python"),
    ],
)
def test_a_wrong_function_is_explained(source: str, expected: str) -> None:
    _, problems = read_python("from registry.authoring import view\n" + source)
    assert expected in "\n".join(problems)


def test_reading_a_file_does_not_run_it() -> None:
    views, _ = read_python(
        "from registry.authoring import view\nraise SystemExit(1)\n\n"
        "@view(partition_by=('day',))\ndef late(orders): ...\n"
    )
    assert views[0].options.write.partition_by == ("day",)


def test_the_digest_of_sources_follows_content_and_paths_and_not_their_order() -> None:
    first = source_digest({"views/a.py": b"1", "views/b.py": b"2"})
    assert first == source_digest({"views/b.py": b"2", "views/a.py": b"1"})
    assert first != source_digest({"views/a.py": b"2", "views/b.py": b"1"})
