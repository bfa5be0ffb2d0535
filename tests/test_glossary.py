"""docs/glossary.md and the code use the same words."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.sources import PACKAGES, ROOT, all_sources

GLOSSARY = ROOT / "docs" / "glossary.md"
# fmt: off
DESIGNED = (
    "dataset", "view", "relation", "version", "range", "pin", "frontier", "change", "change feed", "plan", "bundle",
    "compile key", "fingerprint", "content key", "scan unit", "cycle", "refresh", "reason", "skip", "incremental",
    "recompute",
)
# fmt: on


def table_after(heading: str) -> dict[str, str]:
    section = GLOSSARY.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return {row[0].strip(): row[1].strip() for row in rows}


@cache
def code() -> str:
    """Return all code that ships, in words: identifiers taken apart."""
    texts = [
        path.read_text()
        for path in all_sources()
        if path.suffix in {".py", ".rs"} and path.relative_to(ROOT).parts[0] in {*PACKAGES, "rust"}
    ]
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", "\n".join(texts))
    return re.sub(r"[_\W]+", " ", parted).lower()


@pytest.mark.parametrize("word", DESIGNED)
def test_a_word_of_the_design_is_in_the_glossary(word: str) -> None:
    assert word in table_after("Words")


@pytest.mark.parametrize("word", sorted(table_after("Words")))
def test_a_word_of_the_glossary_is_used(word: str) -> None:
    assert re.search(rf"\b{word}s?\b", code()), f'no code speaks of "{word}"'


@pytest.mark.parametrize("word", sorted(table_after("Words that we do not use")))
def test_a_banned_word_is_not_used(word: str) -> None:
    pattern = re.compile(rf"\b{word.replace(' ', '[ _]')}s?\b", 0 if word.isupper() else re.IGNORECASE)
    using = [
        path.relative_to(ROOT).as_posix()
        for path in all_sources()
        if path != GLOSSARY and pattern.search(path.read_text())
    ]
    assert not using, f'"{word}" is called "{table_after("Words that we do not use")[word]}" here'


def test_nothing_is_left_unfinished() -> None:
    marks = re.compile(
        "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", r"unimplemented!\(", "NotImplemented" + "Error"))
    )
    using = [path.relative_to(ROOT).as_posix() for path in all_sources() if marks.search(path.read_text())]
    assert not using


def test_no_path_of_a_machine_is_written_down() -> None:
    paths = re.compile("(^|[^A-Za-z0-9_.-])/(" + "|".join(("work", "farm", "root")) + ")/")
    using = [path.relative_to(ROOT).as_posix() for path in all_sources() if paths.search(path.read_text())]
    assert not using
