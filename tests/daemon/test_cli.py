"""The command line: help, errors, exit codes and tables, without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from daemon.cli.application import VERBS, application, run
from daemon.clock import Clock
from registry.errors import DefinitionError, DeltakeepError, Problem, RetryLater
from tests.daemon import samples
from tests.daemon.fakes import FakeKeeper, ManualClock

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "apscheduler",
    "datafusion",
    "datafusion_ext",
    "deltalake",
    "incremental.keeper",
    "prometheus_client",
    "pyarrow",
    "pydantic",
    "rich",
    "rustworkx",
    "starlette",
    "structlog",
    "uvicorn",
    "watchfiles",
)


class Scripted(FakeKeeper):
    """Answers with the samples."""

    answers: Mapping[str, Any] = {}
    error: Exception | None = None

    def __getattribute__(self, name: str) -> Any:
        answers = object.__getattribute__(self, "answers")
        if name in answers:
            return lambda *_args, **_kwargs: answers[name]
        return object.__getattribute__(self, name)


class Shell:
    """Runs commands in a project folder, offline, with a fake keeper."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.keeper = Scripted()
        self.open_error: Exception | None = None
        self._capsys = capsys
        module = ModuleType("daemon.live_keeper")
        module.open_keeper = self._open  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "daemon.live_keeper", module)
        monkeypatch.setattr("daemon.cli.progress.SystemClock", ManualClock)
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        monkeypatch.chdir(folder)

    def _open(self, _root: Path, _clock: Clock) -> FakeKeeper:
        if self.open_error is not None:
            raise self.open_error
        return self.keeper

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    (tmp_path / "deltakeep.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "views").mkdir()
    return Shell(tmp_path, monkeypatch, capsys)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def cells(text: str) -> list[str]:
    """Return the rows of a table with one bar between cells, however wide they are."""
    return [re.sub(r" {2,}", "|", line) for line in lines(text)]


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["status", "--help"], ["nosuch"], ["why"]])
def test_nothing_heavy_is_imported_before_the_first_output(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from daemon.cli.application import run\n"
        "run(sys.argv[1:])\n"
        "print([m for m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert not [name for name in HEAVY if name in loaded]


def test_the_first_line_of_a_long_command_is_out_before_the_engine_is_loaded(shell: Shell) -> None:
    seen: list[str] = []

    def open_late(_root: Path, _clock: Clock) -> FakeKeeper:
        seen.append(shell._capsys.readouterr().err)
        return shell.keeper

    sys.modules["daemon.live_keeper"].open_keeper = open_late  # type: ignore[attr-defined]
    assert shell("status")[0] == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d looking\n", seen[0])


def test_help_lists_every_verb_and_every_exit_code(shell: Shell) -> None:
    code, out, err = shell("--help")
    assert (code, err) == (0, "")
    for verb, entry in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(entry.summary[:40])}", out, re.MULTILINE), verb
    for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 75, 78, 130):
        assert re.search(rf"(^|\s){number}  ?\S", out)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_exists_and_says_in_the_list_what_its_own_help_says(verb: str) -> None:
    with click.Context(application) as context:
        command = application.get_command(context, verb)
    assert command is not None
    assert command.name == verb
    assert command.help is not None
    assert command.help.split("\n")[0] == VERBS[verb].summary


def test_without_arguments_it_shows_help(shell: Shell) -> None:
    code, out, _ = shell()
    assert code == 2
    assert out.startswith("Usage: daemonctl")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("statsu",), 'there is no command "statsu"; did you mean "status"?', "see `daemonctl --help`"),
        (("why",), "Missing argument 'VIEW'.", "see `daemonctl why --help`"),
        (("verify",), "name the views, or say --all", "see `daemonctl verify --help`"),
        (("preview", "--where", "x"), "--where says which rows of --dataset change", "see `daemonctl preview --help`"),
        (("run", "clean"), "views and --recompute belong to --once; the service keeps all views", None),
        (("query",), "give the SQL, or a file with -f", None),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_code_2(
    shell: Shell, arguments: tuple[str, ...], message: str, hint: str | None
) -> None:
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    found = lines(err)
    assert found[0] == f"error[usage]: {message}"
    if hint is not None:
        assert found[-1] == f"  hint: {hint}"


def test_a_folder_without_a_project_is_a_configuration_error(
    shell: Shell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    code, _, err = shell("-C", str(empty), "status")
    assert code == 78
    assert lines(err) == [
        f'error[project_not_found]: there is no deltakeep.toml in "{empty}"',
        "  hint: name the project's folder with -C, or make a project with `daemonctl init DIR`",
    ]


def test_the_project_is_found_upwards(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.folder / "views")
    assert shell("-q", "status", "-o", "json")[0] == 0


def test_a_project_file_that_is_no_toml_is_told_with_its_line(shell: Shell) -> None:
    (shell.folder / "deltakeep.toml").write_text("[project]\nname = \n")
    code, _, err = shell("-q", "status")
    assert code == 78
    assert lines(err)[0].startswith("deltakeep.toml:2: not valid TOML: Invalid value")
    assert lines(err)[-1] == "error[definition_invalid]: the definitions have 1 problem"


def test_every_problem_of_the_definitions_is_told_with_place_and_hint(shell: Shell) -> None:
    shell.open_error = DefinitionError(
        [
            Problem("deltakeep.toml", 7, 'unknown key "pol"', "a key of a dataset", 'did you mean "poll"?'),
            Problem("views/daily.sql", 3, 'there is no column "amout"', "a column of orders"),
        ]
    )
    code, out, err = shell("-q", "status")
    assert (code, out) == (78, "")
    assert lines(err) == [
        'deltakeep.toml:7: unknown key "pol"; expected a key of a dataset',
        '  hint: did you mean "poll"?',
        'views/daily.sql:3: there is no column "amout"; expected a column of orders',
        "error[definition_invalid]: the definitions have 2 problems",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeltakeepError("not_found", 'there is no view "x"', hint="known: a, b"), 5),
        (RetryLater("store_error", "the store did not answer"), 75),
        (DeltakeepError("not_ours", "the target belongs to another view", where="views/x.sql:1"), 4),
        (OSError(28, "No space left on device", "/lake"), 1),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("odd"), 1),
    ],
)
def test_every_error_ends_in_its_exit_code(shell: Shell, error: Exception, code: int) -> None:
    shell.open_error = error
    found, out, err = shell("-q", "status")
    assert (found, out) == (code, "")
    assert err.lstrip().startswith("error[")
    assert "Traceback" not in err


def test_where_and_hint_follow_the_message(shell: Shell) -> None:
    shell.open_error = DeltakeepError("not_ours", "somebody else's", hint="choose another", where="views/x.sql:1")
    assert lines(shell("-q", "status")[2]) == [
        "error[not_ours]: somebody else's",
        "  where: views/x.sql:1",
        "  hint: choose another",
    ]


def test_colours_are_used_when_forced_and_never_under_no_color(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31merror[usage]:\x1b[0m" in shell("nosuch")[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in shell("nosuch")[2]


def test_one_cycle_is_a_table_with_reasons_and_savings(shell: Shell) -> None:
    shell.keeper.answers = {"run_cycle": samples.CYCLE}
    code, out, err = shell("run", "--once")
    assert code == 0
    assert lines(err)[0].endswith(" one cycle")
    assert cells(out) == [
        "VIEW|STRATEGY|OUTCOME|WHY|INSERTED|DELETED|READ|RECOMPUTE|SAVED|TIME",
        "orders_clean|incremental|committed|1 of 3 files changed|1,200|20|40 kB|1.3 MB|96.9 %|95 ms",
        "orders_by_day|recompute|committed|the target does not exist yet|365|0|1.3 MB|1.3 MB|–|310 ms",
        "customers_fr|skip|skipped|no changed file can meet the filters|–|–|–|–|–|1 ms",
        "3 views, 2 refreshed, 1.3 MB read in place of 2.6 MB (48.5 % saved), 412 ms",
    ]


def test_a_failed_view_makes_the_cycle_fail_and_says_what_to_do_last(shell: Shell) -> None:
    shell.keeper.answers = {"run_cycle": samples.FAILED_CYCLE}
    code, out, _ = shell("-q", "run", "--once")
    assert code == 1
    assert lines(out)[-2] == "orders_by_day: store_error: no space left on device"
    assert lines(out)[-1] == (
        "2 views, 1 refreshed, 40 kB read in place of 1.3 MB (96.9 % saved), 412 ms; failed: orders_by_day; "
        "see `daemonctl why orders_by_day`"
    )
    assert shell("-q", "run", "--once", "-o", "json")[0] == 1


def test_status_ends_with_the_count_of_states(shell: Shell) -> None:
    shell.keeper.answers = {"status": samples.STATUS}
    code, out, _ = shell("-q", "status")
    assert code == 0
    assert lines(out)[:4] == [
        "VIEW           STATE         LAG  TARGET  VERSION  ROWS   SIZE  NEXT  NOTE",
        "orders_by_day  fresh       4.2 s   1 min        3   365  12 kB  skip  no new versions",
        "top_customers  paused  2 h 5 min     1 h        1    10  900 B  skip  maintenance until noon",
        "",
    ]
    assert lines(out)[-1] == "2 views: 1 fresh, 1 paused"
    assert "no daemon runs; start one with `daemonctl run`" in out
    assert "old_view: its target is left as it is" in out


def test_why_is_a_tree_of_facts(shell: Shell) -> None:
    shell.keeper.answers = {"why": samples.WHY}
    code, out, _ = shell("-q", "why", "orders_by_day")
    assert code == 0
    assert lines(out) == [
        'View "orders_by_day": refreshed incrementally, because it is cheaper (incremental).',
        "├─ Version 4 was committed: 41 rows in, 41 out.",
        "└─ The target is at version 4; our last commit is 4 and reflects:",
        '   └─ "orders" at version 7.',
    ]


def test_preview_tells_cost_and_path_and_exits_with_3_when_asked(shell: Shell) -> None:
    shell.keeper.answers = {"preview": samples.PREVIEW}
    code, out, _ = shell("-q", "preview")
    assert code == 0
    assert "orders → orders_clean → orders_by_day" in out
    assert "≤ 1,220" in out
    assert lines(out)[-1] == (
        "1 view would be refreshed, 1 not; at most 40 kB to read (recomputing: 1.3 MB); nothing was written"
    )
    assert shell("-q", "preview", "--exit-code")[0] == 3


def test_preview_hands_over_what_is_supposed(shell: Shell) -> None:
    (shell.folder / "new.sql").write_text("SELECT 2")
    code, out, _ = shell(
        "-q", "preview", "clean", "--dataset", "orders", "--where", "day = 1", "--edit", "clean=new.sql", "-o", "json"
    )
    assert code == 0
    assert json.loads(out) == {
        "request": {
            "views": ["clean"],
            "dataset": "orders",
            "where": "day = 1",
            "definitions": None,
            "edited": {"clean": "SELECT 2"},
            "exact": False,
        }
    }


def test_verify_ends_with_8_when_a_view_differs(shell: Shell) -> None:
    shell.keeper.answers = {"verify": samples.VERIFIED}
    code, out, _ = shell("-q", "verify", "--all")
    assert code == 0
    assert "to 12 digits: revenue" in out
    assert lines(out)[-1] == "1 view compared: equal to the recomputation at the pins"
    shell.keeper.answers = {"verify": samples.DIFFERENT}
    code, out, _ = shell("-q", "verify", "orders_by_day")
    assert code == 8
    assert lines(out)[-1] == ("not equal: orders_by_day; `daemonctl refresh orders_by_day --recompute` repairs it")
    assert shell("-q", "verify", "orders_by_day", "-o", "json")[0] == 8


def test_query_reads_a_file_and_says_how_many_rows(shell: Shell) -> None:
    (shell.folder / "q.sql").write_text("SELECT 1")
    code, out, _ = shell("-q", "query", "-f", "q.sql")
    assert code == 0
    assert lines(out) == ["SQL", "SELECT 1", "1 row"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pause", "clean", "--reason", "x"), "clean is paused; `daemonctl resume clean` refreshes it again"),
        (("resume", "clean"), "clean is refreshed again"),
    ],
)
def test_pause_and_resume_say_what_to_do_next(shell: Shell, arguments: tuple[str, ...], expected: str) -> None:
    code, out, _ = shell("-q", *arguments)
    assert (code, lines(out)[-1]) == (0, expected)


def test_replan_is_written_with_or_without_the_word_view(shell: Shell) -> None:
    for words in (("view", "clean"), ("clean",)):
        code, out, _ = shell("-q", "replan", *words, "-o", "json")
        assert (code, json.loads(out)) == (0, {"views": ["clean"]})


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("views",), ("lineage",), ("history", "clean", "-n", "3"), ("why", "clean"), ("explain", "clean")],
)
def test_reading_verbs_speak_json(shell: Shell, arguments: tuple[str, ...]) -> None:
    code, out, err = shell("-q", *arguments, "-o", "json")
    assert (code, err) == (0, "")
    json.loads(out)


def test_explain_names_the_functions_of_the_project_and_who_switched_planners_on(shell: Shell) -> None:
    planners = [
        {"planner": "nested@2", "switched_on_by": ["list_compact", "struct_pick"], "called": []},
        {"planner": "spans@1", "switched_on_by": ["span_id", "span_len"], "called": ["span_len"]},
    ]
    report = {"view": "clean", "macros": {"late": "5f"}, "domain_planners": planners, "displays": {"optimized": "Scan"}}
    shell.keeper.answers = {"explain": report}
    code, out, _ = shell("-q", "explain", "clean")
    assert code == 0
    assert "functions of the project: late" in lines(out)
    assert "domain planner spans@1: switched on by span_len" in lines(out)
    assert "nested@2" not in out


def test_reload_needs_a_daemon(shell: Shell) -> None:
    code, _, err = shell("reload")
    assert code == 7
    assert lines(err)[0].startswith("error[daemon_not_reachable]: no daemon answers on")


def test_a_stale_socket_counts_as_no_daemon(shell: Shell) -> None:
    import socket

    (shell.folder / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(shell.folder / "state" / "deltakeep.sock"))
    assert shell("-q", "status", "-o", "json")[0] == 0


def test_progress_is_plain_timestamped_lines_off_a_terminal(shell: Shell) -> None:
    code, _, err = shell("refresh", "clean", "-o", "json")
    assert code == 0
    found = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines(err)]
    assert found == ["refreshing clean", "clean: incremental, incremental", "clean: committed"]


def test_an_installation_without_the_example_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.cli.begin.EXAMPLE", "examples/nosuch/replay.py")
    code, _, err = shell("demo")
    assert code == 5
    assert lines(err)[0].startswith("error[example_missing]: the flights example is not part of this installation")


def test_version_is_json_on_request(shell: Shell) -> None:
    code, out, _ = shell("version", "-o", "json")
    assert code == 0
    assert {"deltakeep", "python", "datafusion", "deltalake"} <= set(json.loads(out))


def test_a_token_is_made_listed_and_refused_with_its_end(shell: Shell) -> None:
    code, out, err = shell("token", "create", "ann", "--role", "read", "--expires", "90d")
    assert code == 0
    assert re.fullmatch(
        r'token "ann" with role read, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; it is not shown again:\n', err
    )
    assert out.startswith("dk_")
    code, out, _ = shell("token", "create", "ben", "--role", "read", "-o", "json")
    assert json.loads(out)["expires_ms"] is None
    listed = {one["name"]: one for one in json.loads(shell("token", "list", "-o", "json")[1])}
    assert listed["ann"]["expires_ms"] - listed["ann"]["created_ms"] == 90 * 86_400_000
    rows = cells(shell("token", "list")[1])
    assert rows[0] == "NAME|ROLE|CREATED|BY|EXPIRES"
    assert rows[2].endswith("|never")
    shell("token", "create", "cem", "--role", "read", "--expires", "1ms")
    assert next(row for row in cells(shell("token", "list")[1]) if row.startswith("cem")).endswith("(expired)")


@pytest.mark.parametrize("duration", ["soon", "0d", "90", "40000d"])
def test_an_end_that_is_no_duration_makes_no_token(shell: Shell, duration: str) -> None:
    code, _, err = shell("token", "create", "ann", "--role", "read", "--expires", duration)
    assert code == 2
    assert "--expires" in err
    assert json.loads(shell("token", "list", "-o", "json")[1]) == []


def test_status_tells_a_certificate_that_was_refused_and_fails(shell: Shell) -> None:
    refused = {"code": "certificate_refused", "message": "no key"}
    status = {
        **samples.STATUS,
        "daemon": {"state": "running", "pid": 1, "version": "1", "certificate_failure": refused},
    }
    shell.keeper.answers = {"status": status}
    code, out, _ = shell("status")
    assert code == 1
    assert "the certificate on disk cannot be used, the old one stays: no key" in out
