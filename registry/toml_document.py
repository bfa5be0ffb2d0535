"""Strict reading of TOML: each key is asked for once with its parser, what nobody asked for is a mistake.

Nothing here raises for the user's mistakes: they are collected, each with its file and line, so that one pass shows
all of them. Values of sensitive keys never reach a problem.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from registry.errors import Problem
from registry.names import NAME_RULE, did_you_mean, name_problem
from registry.quantities import DURATION_EXPECTED, SIZE_EXPECTED, parse_duration_ms, parse_size

Value = TypeVar("Value")
KeyPath = tuple[str, ...]
Parser = Callable[[object], Value]

_AT_LINE: Final = re.compile(r"\s*\(at line (\d+), column \d+\)|\s*\(at end of document\)")
_HEADER: Final = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_PART: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEY_PART: Final = re.compile(_PART)
_KEY: Final = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
# Strings, comments and brackets: all that decides where a value ends.
_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*|[\[\]{}]|\n", re.DOTALL
)
# A partition of a plan takes some 20 kB even if it has no row, and every operator multiplies that.
TASKS_MAX: Final = 1_024
# Keys whose values may be secrets.
_SENSITIVE: Final = frozenset({"storage_options", "secret", "api_key", "headers", "url"})


class Unexpected(Exception):
    """A value is not what its parser takes; says what was expected and what to do."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def parse_toml(text: str, file: str, first_line: int, problems: list[Problem]) -> Section | None:
    """Read a TOML text that starts at `first_line` of `file`; a text that is no TOML gives a problem and None."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _AT_LINE.search(message)
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        what = f"not valid TOML: {_AT_LINE.sub('', message).rstrip('.')}"
        hint = _toml_hint(text, line)
        problems.append(Problem(file, first_line + line - 1, what, "TOML, with strings in quotes", hint))
        return None
    lines = {path: first_line + line - 1 for path, line in key_lines(text).items()}
    return Section(values, file, lines, (), first_line, problems)


def _toml_hint(text: str, line: int) -> str:
    """Guess the commonest mistakes from the line that does not parse."""
    lines = text.splitlines()
    wrong = lines[line - 1] if 0 < line <= len(lines) else ""
    key, equals, value = wrong.partition("=")
    value = value.strip()
    if equals and value in {"True", "False"}:
        return f"write {key.strip()} = {value.lower()}"
    if equals and value and value[0] not in "\"'[{0123456789+-":
        return f"put the value of {key.strip()} in quotes"
    if not equals and ":" in wrong:
        return "TOML has = between a key and its value"
    return ""


def key_lines(text: str) -> dict[KeyPath, int]:
    r"""Give the line, counted from 1, of each table header and key of a valid TOML text.

    Keys inside inline tables and arrays have no line of their own.

    >>> key_lines('a = 1\n[b.c]\nd = [\n 1]\ne = 2')
    {('a',): 1, ('b', 'c'): 2, ('b', 'c', 'd'): 3, ('b', 'c', 'e'): 5}
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _top_level_lines(text):
        header = _HEADER.match(line)
        if header is not None:
            table = _key_parts(header[1])
            found.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            path = table + _key_parts(key[1])
            for length in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:length], number)
    return found


def _top_level_lines(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines on which no value of an earlier line goes on, with their numbers."""
    lines = text.split("\n")
    depth = 0
    statement_line = line = 1
    for token in _TOKEN.finditer(text + "\n"):
        match token[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case "\n":
                if depth == 0:
                    yield statement_line, lines[statement_line - 1]
                    statement_line = line + 1
                line += 1
            case other:
                line += other.count("\n")


def _key_parts(text: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _KEY_PART.findall(text))


@dataclass
class Section:
    """A table of keys that is being read; collects the problems of its reading.

    `lines` maps whole key paths to lines; `line` is that of the section itself.
    """

    values: Mapping[str, Any]
    file: str
    lines: Mapping[KeyPath, int]
    path: KeyPath
    line: int
    problems: list[Problem]
    _asked: set[str] = field(default_factory=set)

    def take(self, key: str, parse: Parser[Value], default: Value) -> Value:
        """Give the parsed value of a key, or the default where it is missing or wrong."""
        self._asked.add(key)
        if key not in self.values:
            return default
        found = self._parse(key, parse)
        return default if found is None else found

    def require(self, key: str, parse: Parser[Value], expected: str, hint: str = "") -> Value | None:
        """Give the parsed value of a key that has to be there; a missing or wrong one is a problem."""
        self._asked.add(key)
        if key not in self.values:
            what = f'"{key}" is missing' + (f" in [{'.'.join(self.path)}]" if self.path else "")
            self.problems.append(Problem(self.file, self.line, what, expected, hint))
            return None
        return self._parse(key, parse)

    def section(self, key: str) -> Section:
        """Give the table under a key, empty where it is missing or no table."""
        self._asked.add(key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.report(key, f'"{self._dotted(key)}" is not a table', f"a table [{self._dotted(key)}]")
            value = {}
        return Section(value, self.file, self.lines, (*self.path, key), self.line_of(key), self.problems)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Give all tables in this one by their names."""
        for key in self.values:
            yield key, self.section(key)

    def finish(self) -> None:
        """Report the keys that nobody asked for."""
        for key in self.values:
            if key not in self._asked:
                what = f'unknown key "{self._dotted(key)}"'
                self.report(key, what, f"one of {', '.join(sorted(self._asked))}", did_you_mean(key, self._asked))

    def line_of(self, key: str) -> int:
        """Give the line of a key, or of the section where the key has none."""
        return self.lines.get((*self.path, key), self.line)

    def report(self, key: str, what: str, expected: str = "", hint: str = "") -> None:
        """Add a problem at a key."""
        self.problems.append(Problem(self.file, self.line_of(key), what, expected, hint))

    def _dotted(self, key: str) -> str:
        return ".".join((*self.path, key))

    def _parse(self, key: str, parse: Parser[Value]) -> Value | None:
        value = self.values[key]
        try:
            return parse(value)
        except Unexpected as error:
            shown = "has a wrong value" if key in _SENSITIVE or isinstance(value, dict) else f"is {_shown(value)}"
            self.report(key, f'"{self._dotted(key)}" {shown}', error.expected, error.hint)
            return None


def _shown(value: object) -> str:
    match value:
        case str():
            return f'"{value}"'
        case bool():
            return str(value).lower()
        case _:
            return str(value)


# --- parsers ----------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Take a text that is not empty."""
    if isinstance(value, str) and value.strip():
        return value
    raise Unexpected("a text in quotes")


def any_text(value: object) -> str:
    """Take any text."""
    if isinstance(value, str):
        return value
    raise Unexpected("a text in quotes")


def boolean(value: object) -> bool:
    """Take true or false."""
    if isinstance(value, bool):
        return value
    raise Unexpected("true or false", "write it without quotes" if value in ("true", "false") else "")


def number_of_tasks(value: object) -> int:
    """Take how many things may run beside each other: each takes memory of its own, so there is a bound."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= TASKS_MAX:
        return value
    raise Unexpected(f"a whole number from 1 to {TASKS_MAX}")


def texts(value: object) -> tuple[str, ...]:
    """Take a list of texts, each of them once."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise Unexpected('a list of texts such as ["day"]')
    if len(set(value)) != len(value):
        raise Unexpected("each text once")
    return tuple(value)


def text_map(value: object) -> dict[str, str]:
    """Take a table of texts; numbers and truth values become their texts."""
    if not isinstance(value, dict):
        raise Unexpected('a table such as { key = "value" }')
    for key, one in value.items():
        if isinstance(one, dict | list):
            raise Unexpected(f'a text for "{key}"', "quote keys that contain dots")
    return {key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}


def duration_ms(value: object) -> int:
    """Take a duration above zero; gives milliseconds."""
    if isinstance(value, str):
        try:
            found = parse_duration_ms(value)
        except ValueError:
            raise Unexpected(DURATION_EXPECTED) from None
        if found > 0:
            return found
    hint = f'write "{value}s"' if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""
    raise Unexpected(DURATION_EXPECTED + " above 0", hint)


def size_bytes(value: object) -> int:
    """Take a size above zero; gives bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        try:
            found = parse_size(value)
        except ValueError:
            raise Unexpected(SIZE_EXPECTED) from None
        if found > 0:
            return found
    raise Unexpected(SIZE_EXPECTED + " above 0")


def name(value: object) -> str:
    """Take a name."""
    if not isinstance(value, str):
        raise Unexpected(NAME_RULE)
    problem = name_problem(value)
    if problem is not None:
        raise Unexpected(NAME_RULE, problem)
    return value


Choice = TypeVar("Choice", bound=StrEnum)


def one_of(choices: type[Choice]) -> Parser[Choice]:
    """Make the parser that takes one of the values of an enumeration."""

    def parse(value: object) -> Choice:
        allowed = [one.value for one in choices]
        if isinstance(value, str) and value in allowed:
            return choices(value)
        expected = "one of " + ", ".join(f'"{one}"' for one in allowed)
        raise Unexpected(expected, did_you_mean(value, allowed) if isinstance(value, str) else "")

    return parse
