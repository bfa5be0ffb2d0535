"""The commands of each page of docs/operations/ do, against its staged fault, what the page says.

In a block `console`, a line that starts with `$` is a command, `# exit N` at its end its exit code (0 where it has
none), and each line below it has to stand in one line of what it says; white space does not count.
A block `console after` comes after the world outside has done its part (`tests/staged_faults.py`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from daemon.cli.application import run
from daemon.metrics_catalogue import FAMILIES, known_series
from tests.sources import ROOT
from tests.staged_faults import STAGES, make_site

FOLDER: Final = ROOT / "docs" / "operations"
OTHERS: Final = re.compile(r"alert-.*|monitoring|systemd|container|console")
"""Pages that are about something else than a fault."""
SECTIONS: Final = ("Symptom", "Confirm", "Decide", "Fix", "It is over when", "What not to do")
PAGES: Final = {page.stem: page for page in sorted(FOLDER.glob("*.md")) if not OTHERS.fullmatch(page.stem)}


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page with what the page says of it; `after` where the world outside comes before it."""

    command: str
    exit_code: int
    says: tuple[str, ...]
    after: bool


def steps(text: str) -> Iterator[Step]:
    for info, body in re.findall(r"^```console( after)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        after = bool(info)
        for one in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            first, *says = one.strip().splitlines()
            command, _, code = first.partition("   # exit ")
            assert says, f'"{command}" says nothing that could be wrong'
            yield Step(command, int(code or 0), tuple(says), after)
            after = False


def flat(line: str) -> str:
    return " ".join(line.split())


def patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """How long a daemon may take to answer: little where it is staged to be stuck, much where it is not."""
    for place in ("doctor.DAEMON_PATIENCE_S", "support_bundle.DAEMON_PATIENCE_S", "client.ALIVE_TIMEOUT_S"):
        monkeypatch.setattr(f"daemon.{place}", seconds)


def test_each_page_has_a_fault_and_each_fault_a_page() -> None:
    assert set(PAGES) == set(STAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_all_of_its_parts(name: str) -> None:
    text = PAGES[name].read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(SECTIONS)
    decide = text.split("## Decide")[1].split("## Fix")[0]
    assert decide.count("\n|") >= 4, "a table to decide by"
    confirm = text.split("## Confirm")[1].split("## Decide")[0]
    over = text.split("## It is over when")[1].split("## What not to do")[0]
    assert all("```console" in part for part in (confirm, over)), "commands that show it, and that it is over"
    metrics = set(re.findall(r"`(deltakeep_\w+)`", text))
    known = known_series() | {family.full_name for family in FAMILIES}
    assert metrics <= known, metrics - known


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_do_what_it_says(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, 1.0 if name == "stalled" else 30.0)
    site = make_site(tmp_path / "shop")
    stage = STAGES[name](site)
    next(stage)
    try:
        for step in steps(PAGES[name].read_text()):
            if step.after:
                next(stage, None)
                patience(monkeypatch, 30.0)
            monkeypatch.chdir(site.root)
            capfd.readouterr()
            program, *arguments = shlex.split(step.command)
            assert program == "daemonctl"
            code = run(["-q", *arguments])
            said = capfd.readouterr()
            text = f"$ {step.command}\n{said.out}{said.err}"
            assert code == step.exit_code, text
            lines = [flat(line) for line in (said.out + said.err).splitlines()]
            for expected in step.says:
                assert any(flat(expected) in line for line in lines), f"{expected}\nis not in\n{text}"
    finally:
        for _ in stage:
            continue


def test_the_entry_page_names_every_page() -> None:
    entry = (FOLDER.parent / "operations.md").read_text()
    assert not [name for name in PAGES if f"](operations/{name}.md)" not in entry]


def test_a_command_without_its_exit_code_and_one_with_it_are_read_apart() -> None:
    first = '```console\n$ daemonctl a --b "c d"   # exit 8\nfirst line\nsecond\n```\n'
    text = f"{first}```console after\n$ daemonctl e\nx\n```\n"
    assert list(steps(text)) == [
        Step('daemonctl a --b "c d"', 8, ("first line", "second"), after=False),
        Step("daemonctl e", 0, ("x",), after=True),
    ]
