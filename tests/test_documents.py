"""The documents that are made from code are those in docs/, and what documents refer to exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS
from tests.sources import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("rust", "registry", "incremental", "daemon", "tests", "examples", "docs", "benchmarks", "systemd", "grafana")
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_made_document_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == DOCUMENTS[name](), "run `make docs`"


def test_the_page_of_a_project_has_every_option() -> None:
    page = (ROOT / "docs" / "project.md").read_text()
    for file in ("project.py", "view_options.py", "location.py", "integrations.py"):
        taken = re.findall(r"section\.(?:take|require)\(\s*\"(\w+)\"", (ROOT / "registry" / file).read_text())
        taken += re.findall(r"project\.(?:take|require)\(\s*\"(\w+)\"", (ROOT / "registry" / file).read_text())
        assert taken
        assert not [key for key in taken if f"| `{key}` |" not in page]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:rust|registry|incremental|daemon|tests|examples|docs|benchmarks)/[\w./-]+\.\w+)`", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_make_alone_lists_every_verb_with_what_it_does() -> None:
    # Tests may have been started by make, whose settings would change what another make prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ran = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make ([a-z-]+) +\S", ran.stdout, flags=re.MULTILINE)
    verbs = re.findall(r"^\.PHONY: ([a-z-]+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert len(verbs) > 20
    assert listed == verbs


def test_two_commands_of_the_readme_do_everything_and_one_of_them_is_what_is_run_elsewhere() -> None:
    section = (
        (ROOT / "README.md").read_text().partition("## Two commands")[2].partition("```sh\n")[2].partition("```")[0]
    )
    assert [line.split("#")[0].strip() for line in section.splitlines()] == ["make demo", "make check"]
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make check"
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo: build\b", makefile, flags=re.MULTILINE)
    assert re.search(r"^check: build lint test-rust test-python\b", makefile, flags=re.MULTILINE)
