"""Function files: one macro a file, as `CREATE FUNCTION name(argument type, …) RETURNS type RETURN expression`.

The engine reads the statements; here they only get their names and places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from registry.dataset import SourcePosition
from registry.errors import Problem
from registry.names import NAME_RULE, name_problem
from registry.native import FunctionSource

# A place in a text, as the engine and the parser below it write it.
SQL_PLACE: Final = re.compile(r"\bline:? (\d+), column:? (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MacroDefinition:
    """A macro as its file has it; the whole text, so that lines of errors are lines of the file."""

    name: str
    text: str
    source: SourcePosition

    def to_source(self) -> FunctionSource:
        """Give what the engine takes."""
        return FunctionSource(name=self.name, text=self.text)


def parse_function_file(file: str, stem: str, text: str, problems: list[Problem]) -> MacroDefinition:
    """Read a function file; `stem` is its name without suffix, and the function's name."""
    problem = name_problem(stem)
    if problem is not None:
        hint = f"rename the file: its name is the function's; {problem}"
        problems.append(Problem(file, 1, f'"{stem}" is not a name for a function', NAME_RULE, hint))
    return MacroDefinition(stem, text, SourcePosition(file, 1))


def function_problem(definition: MacroDefinition, message: str) -> Problem:
    """Give what the engine says about a macro as a problem; a place in the text becomes a line of the file."""
    place = SQL_PLACE.search(message)
    line = int(place[1]) if place is not None else definition.source.line
    return Problem(definition.source.file, line, f'function "{definition.name}": {message}')


def functions_in_order(functions: Mapping[str, MacroDefinition]) -> tuple[FunctionSource, ...]:
    """Give all macros of a project in the order of their names, as every request has them."""
    return tuple(functions[name].to_source() for name in sorted(functions))
