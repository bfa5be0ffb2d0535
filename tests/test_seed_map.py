"""docs/seed.md tells the truth about what it names: files are there, tests are there, nothing is left open."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.sources import CRATES, PACKAGES, ROOT, rust_files

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
        elif re.fullmatch(r"\w+", name):
            assert name in all_code(), name
