"""The first ten minutes: a project is made, built and proved, and every question is answered without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from daemon.cli.application import run
from registry.errors import EXIT_CHECK_FAILED, EXIT_OK
from tests.simulation.chain import listing

VIEW: Final = "orders_by_day"
QUESTIONS: Final = (
    ("check",),
    ("status",),
    ("views",),
    ("lineage",),
    ("lineage", VIEW),
    ("why", VIEW),
    ("explain", VIEW),
    ("preview",),
    ("preview", "--dataset", "orders", "--exact"),
    ("history",),
    ("history", VIEW),
    ("verify", "--all"),
    ("query", f"SELECT count(*) AS n FROM {VIEW}"),
    ("query", "SELECT view_name, reason FROM deltakeep.refreshes"),
    ("version",),
)


class Shell:
    """Types commands in one folder; no daemon runs."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = run(["-C", str(self._folder), "-q", *words])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out

    def json(self, *words: str) -> Any:
        code, out = self(*words, "-o", "json")
        assert code == EXIT_OK, (words, out)
        return json.loads(out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    folder = tmp_path / "shop"
    assert run(["init", str(folder)]) == EXIT_OK
    assert "next: cd" in capsys.readouterr().out
    return Shell(folder, capsys)


def test_a_new_project_is_sound_built_and_proved_by_the_commands_that_it_names(shell: Shell) -> None:
    assert shell("check")[0] == EXIT_OK
    built = shell.json("run", "--once")
    assert {one["outcome"] for one in built["views"]} == {"committed"}
    assert {one["reason"] for one in built["views"]} == {"first_build"}
    assert {one["state"] for one in shell.json("status")["views"]} == {"fresh"}
    proved = shell.json("verify", "--all")
    assert len(proved) == len(built["views"])
    again = shell.json("run", "--once")
    assert {one["reason"] for one in again["views"]} == {"no_new_versions"}


def test_every_question_is_answered_without_a_daemon_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    shell("run", "--once")
    before = listing(tmp_path / "shop")
    for words in QUESTIONS:
        code, out = shell(*words)
        assert (code, bool(out.strip())) == (EXIT_OK, True), words
        assert shell.json(*words), words
    assert listing(tmp_path / "shop") == before
    # It tries whether it may write, and may find that this machine lacks something.
    assert shell("doctor")[0] in {EXIT_OK, EXIT_CHECK_FAILED}


def test_what_changes_something_works_without_a_daemon_too(shell: Shell) -> None:
    shell("run", "--once")
    assert shell("pause", VIEW, "--reason", "looking")[0] == EXIT_OK
    assert {one["name"]: one["state"] for one in shell.json("status")["views"]}[VIEW] == "paused"
    assert shell("resume", VIEW)[0] == EXIT_OK
    assert shell("replan", "view", VIEW)[0] == EXIT_OK
    refreshed = shell.json("refresh", VIEW, "--recompute")
    assert {one["view"]: one["reason"] for one in refreshed["views"]}[VIEW] == "requested"
