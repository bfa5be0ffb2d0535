"""docs/seed.md tells the truth about what it names: files are there, tests are there, nothing is left open."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.sources import CRATES, PACKAGES, ROOT, python_files, rust_files

PAGE = (ROOT / "docs" / "seed.md").read_text()
ROWS = re.findall(r"^\| (?!asked)([^|]+) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)


@cache
def all_code() -> str:
    python = [path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.py")]
    rust = [path for crate in CRATES for path in rust_files(crate)]
    return "\n".join(path.read_text() for path in [*python, *rust])


def test_every_line_of_every_scope_is_here() -> None:
    assert len(ROWS) == 92
    assert len(re.findall(r"^## \d+\. ", PAGE, flags=re.MULTILINE)) == 18


@pytest.mark.parametrize(("asked", "done"), ROWS)
def test_what_a_line_names_exists(asked: str, done: str) -> None:
    named = re.findall(r"`([^`]+)`", done)
    assert named or "later: " in done, asked
    for name in named:
        if "/" in name and "." in name:
            assert (ROOT / name).exists(), name
        elif name.startswith("test_"):
            assert f"def {name}(" in all_code(), name
        elif method := re.fullmatch(r"([A-Z]\w+)\.(\w+)", name):
            assert is_attribute(*method.groups()), name
        elif re.fullmatch(r"\w+", name):
            assert re.search(rf"\b{name}\b", all_code()), name


def is_attribute(owner: str, attribute: str) -> bool:
    """Whether a class of ours has a field, a method or a property of that name."""
    classes = [
        node
        for file in python_files(*PACKAGES)
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ClassDef) and node.name == owner
    ]
    fields = {
        node.target.id
        for one in classes
        for node in one.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return attribute in fields | {
        node.name for one in classes for node in one.body if isinstance(node, ast.FunctionDef)
    }
