"""View files: SQL with its options in the leading comment, and Python functions with `@view`.

Reading a Python file never runs it: names, parameters and options come from its syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from registry.dataset import SourcePosition
from registry.errors import Problem
from registry.names import NAME_RULE, ViewName, name_problem
from registry.toml_document import Section, parse_toml
from registry.view import PythonDefinition, SqlDefinition, ViewDefinition
from registry.view_options import ViewOptions, read_options

AUTHORING_MODULE: Final = "registry.authoring"
DECORATOR: Final = "view"


@dataclass(frozen=True, slots=True)
class ParsedView:
    """A view as its file declares it; where its target lies is decided by the project."""

    name: ViewName
    definition: ViewDefinition
    options: ViewOptions
    source: SourcePosition
    option_lines: Mapping[str, int]


def parse_sql_view(
    file: str, stem: str, text: str, defaults: ViewOptions, problems: list[Problem]
) -> ParsedView | None:
    """Read an SQL view; `stem` is the file's name without its suffix, and the view's name."""
    _check_name(stem, file, 1, "rename the file: its name is the view's", problems)
    header, header_line, body, body_line = _split_header(text)
    options, lines = defaults, {}
    if header is not None:
        section = parse_toml(header, file, header_line, problems)
        if section is None:
            problems[-1] = _explain_header(problems[-1])
            return None
        options = read_options(section, defaults)
        lines = {key: section.line_of(key) for key in section.values}
    elif "/*" in text and text.lstrip().startswith("/*"):
        problems.append(Problem(file, 1, "the leading comment has no end", "*/ after the options"))
        return None
    if not _has_statement(body):
        problems.append(Problem(file, body_line, "there is no query", "one SELECT statement"))
        return None
    return ParsedView(ViewName(stem), SqlDefinition(body, body_line), options, SourcePosition(file, body_line), lines)


def _split_header(text: str) -> tuple[str | None, int, str, int]:
    """Split a file into its header, the line where that starts, the query, and the line where that starts."""
    text = text.removeprefix("\ufeff")
    blank = len(text) - len(text.lstrip())
    header: str | None = None
    header_line = 1
    if text[blank:].startswith("/*"):
        end = text.find("*/", blank + 2)
        if end >= 0:
            header = text[blank + 2 : end]
            header_line = 1 + text.count("\n", 0, blank + 2)
            blank = end + 2
    body = text[blank:].lstrip()
    body_line = 1 + text.count("\n", 0, len(text) - len(body))
    return header, header_line, body.rstrip().rstrip(";").rstrip(), body_line


def _has_statement(body: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in body.splitlines())


def _explain_header(problem: Problem) -> Problem:
    hint = problem.hint or "the leading /* */ comment holds the view's options; write other comments with --"
    return Problem(problem.file, problem.line, problem.what, problem.expected, hint)


def parse_python_views(
    file: str, path: str, text: str, *, digest: str, defaults: ViewOptions, problems: list[Problem]
) -> list[ParsedView]:
    """Read the decorated functions of a Python file; a file without any is a module for others and gives none.

    `path` is absolute, `file` relative to the project; `digest` is that of all Python files (`source_digest`).
    """
    try:
        tree = ast.parse(text, file)
    except SyntaxError as error:
        problems.append(Problem(file, error.lineno, f"not valid Python: {error.msg}"))
        return []
    except ValueError as error:
        problems.append(Problem(file, None, f"not valid Python: {error}"))
        return []
    names = _decorator_names(tree)
    found = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorator = next((one for one in node.decorator_list if _called_name(one) in names), None)
        if decorator is None:
            continue
        _check_function(node, file, problems)
        section = _decorator_section(decorator, file, problems)
        definition = PythonDefinition(path, node.name, _parameters(node, file, problems), digest, node.lineno)
        lines = {key: section.line_of(key) for key in section.values}
        options = read_options(section, defaults)
        found.append(ParsedView(ViewName(node.name), definition, options, SourcePosition(file, node.lineno), lines))
    return found


def source_digest(sources: Mapping[str, bytes]) -> str:
    """Give the SHA-256 of Python files by their paths relative to the project; the order has no part in it."""
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.encode() + b"\0" + hashlib.sha256(sources[path]).digest())
    return digest.hexdigest()


def _decorator_names(tree: ast.Module) -> set[str]:
    """Give the dotted names under which the file knows our decorator."""
    names: set[str] = set()
    package, _, module = AUTHORING_MODULE.rpartition(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                known = alias.asname or alias.name
                if node.module == AUTHORING_MODULE and alias.name == DECORATOR:
                    names.add(known)
                elif node.module == package and alias.name == module:
                    names.add(f"{known}.{DECORATOR}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == AUTHORING_MODULE:
                    names.add(f"{alias.asname or alias.name}.{DECORATOR}")
    return names


def _called_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return ast.unparse(node)


def _check_function(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str, problems: list[Problem]) -> None:
    _check_name(node.name, file, node.lineno, "rename the function: its name is the view's", problems)
    if isinstance(node, ast.AsyncFunctionDef):
        problems.append(Problem(file, node.lineno, f'view "{node.name}" is async', "def"))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str, problems: list[Problem]) -> tuple[str, ...]:
    arguments = node.args
    what = f'view "{node.name}" takes '
    expected = "a parameter for each relation that the view reads, named like the relation"
    if arguments.vararg or arguments.kwarg:
        problems.append(Problem(file, node.lineno, what + "any number of arguments", expected))
    if arguments.defaults or any(default is not None for default in arguments.kw_defaults):
        problems.append(Problem(file, node.lineno, what + "an argument with a default", expected))
    found = tuple(one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
    if not found:
        problems.append(Problem(file, node.lineno, what + "no arguments", expected))
    return found


def _decorator_section(decorator: ast.expr, file: str, problems: list[Problem]) -> Section:
    """Give the decorator's keyword arguments as a section; only literals can be read without running the file."""
    values: dict[str, object] = {}
    lines: dict[tuple[str, ...], int] = {}
    if isinstance(decorator, ast.Call):
        if decorator.args:
            expected = 'options by name, such as target_lag="1m"'
            problems.append(Problem(file, decorator.lineno, "@view takes no positional arguments", expected))
        for keyword in decorator.keywords:
            if keyword.arg is None:
                problems.append(Problem(file, keyword.lineno, "@view takes no **options", "options by name"))
                continue
            try:
                value = ast.literal_eval(keyword.value)
            except (ValueError, TypeError):
                what = f'the option "{keyword.arg}" is computed'
                hint = "the file is not run to read its options"
                problems.append(Problem(file, keyword.lineno, what, "a literal", hint))
                continue
            values[keyword.arg] = list(value) if isinstance(value, tuple) else value
            lines[(keyword.arg,)] = keyword.lineno
    return Section(values, file, lines, (), decorator.lineno, problems)


def _check_name(name: str, file: str, line: int, hint: str, problems: list[Problem]) -> None:
    problem = name_problem(name)
    if problem is not None:
        problems.append(Problem(file, line, f'"{name}" is not a name for a view', NAME_RULE, f"{hint}; {problem}"))
