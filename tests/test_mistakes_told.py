"""What a person is told about each mistake: the exit code, where, what was expected, what to do; nothing half-written.

`tests/test_mistakes.py` shows that no row is lost; here the command line is asked, as the person would.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from daemon.cli.application import run
from registry.errors import EXIT_CHECK_FAILED, EXIT_CONFIGURATION, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_OK
from tests import oracle
from tests.lake import SourceTable
from tests.simulation.chain import leftovers
from tests.workspace import Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
FIRST: Final = [{"id": 1, "city": "Rome", "amount": 10}, {"id": 2, "city": "Oslo", "amount": 20}]
SECOND: Final = [{"id": 3, "city": "Rome", "amount": 30}]
CITIES: Final = "SELECT city, sum(amount) AS amount FROM orders GROUP BY city"


@dataclass(slots=True)
class Person:
    """Somebody who types commands in the project's folder."""

    workspace: Workspace
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Type a command; its exit code, and all that it says."""
        self.capsys.readouterr()
        code = run(["-C", str(self.workspace.root), "-q", *arguments])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err


@pytest.fixture
def person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    workspace = Workspace(tmp_path)
    workspace.dataset("orders", ORDERS, FIRST)
    workspace.dataset("notes", pa.schema([("text", pa.string())]), [{"text": "hello"}])
    workspace.view("cities", CITIES)
    workspace.view("texts", "SELECT text FROM notes")
    made = Person(workspace, capsys)
    assert made("run", "--once")[0] == EXIT_OK
    return made


def assert_said(said: str, *words: str) -> None:
    """Fail unless all words are there, whatever the line breaks of a table."""
    flat = " ".join(said.split())
    for word in words:
        assert word in flat, said


def assert_mended(person: Person) -> None:
    """When it is over, a cycle makes everything right; nothing half-written was left in any target."""
    assert not any(leftovers(person.workspace).values())
    code, said = person("run", "--once")
    assert code == EXIT_OK, said
    person.workspace.assert_right()


# ---- definitions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("check",), ("run", "--once"), ("status",), ("preview",)], ids=" ".join)
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[project]", "[project", ["deltakeep.toml:1: not valid TOML", "expected TOML, with strings in quotes"]),
        ("store =", "stoer =", ['deltakeep.toml:3: unknown key "project.stoer"', 'did you mean "store"?']),
        ('"lake/orders"', "5", ["deltakeep.toml:7:", '"datasets.orders.uri" is 5', "expected a text in quotes"]),
        ("target_partitions = 2", "target_partitions = 1000000", ["deltakeep.toml:", "a whole number from 1 to 1024"]),
    ],
    ids=["no TOML", "unknown key", "wrong type", "too many"],
)
def test_a_bad_project_file(person: Person, command: tuple[str, ...], old: str, new: str, words: list[str]) -> None:
    file = person.workspace.root / "deltakeep.toml"
    good = file.read_text()
    assert old in good
    file.write_text(good.replace(old, new))
    code, said = person(*command)
    assert code == EXIT_CONFIGURATION
    assert_said(said, *words, "error[definition_invalid]")
    file.write_text(good)
    assert_mended(person)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC city FROM orders", ["views/cities.sql:1:", "not valid SQL", "found: SELEC at line 1, column 1"]),
        ("SELECT city,\n town FROM orders", ["views/cities.sql:2:", 'no column "town"', '"orders.city"']),
        ("SELECT city, amount AS city FROM orders", ["views/cities.sql:1:", '"orders.city" is ambiguous']),
        (
            "SELECT city, (SELECT count(*) FROM notes WHERE text < city) AS n FROM orders",
            ["views/cities.sql:1:", "depends on orders.city", "join its relation to the outer one"],
        ),
        ("SELECT city AS _change_type FROM orders", ["views/cities.sql:1:", "_change_type", "change feeds"]),
    ],
    ids=["no SQL", "unknown column", "a name twice", "a sub-query that nothing runs", "a name of change feeds"],
)
def test_a_bad_query(person: Person, query: str, words: list[str]) -> None:
    person.workspace.view("cities", query)
    before = oracle.read(person.workspace.target("cities"))
    code, said = person("check")
    assert code == EXIT_CONFIGURATION
    assert_said(said, *words, "hint: correct the query")
    assert said.count('view "cities"') == 1
    person.workspace.datasets["notes"].append([{"text": "more"}])
    code, said = person("run", "--once")
    assert code == EXIT_FAILED
    assert_said(said, *words, "failed: cities", "1 refreshed")
    code, said = person("preview")
    assert_said(said, 'View "cities" has no plan and is left out', *words)
    assert person("why", "cities")[0] == EXIT_CONFIGURATION
    oracle.assert_equal(before, oracle.read(person.workspace.target("cities")), about="the last good content")
    person.workspace.view("cities", CITIES)
    assert_mended(person)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("refresh", "citis"), EXIT_NOT_FOUND, ['there is no view "citis"', 'did you mean "cities"?']),
        (("preview", "--dataset", "order", "--where", "true"), EXIT_NOT_FOUND, ['no dataset "order"']),
        (("preview", "--dataset", "orders", "--where", "nonsense >"), EXIT_FAILED, ['predicate on "orders"', "SQL"]),
        (("preview", "--dataset", "orders", "--where", "town = 1"), EXIT_FAILED, ['no column "town"', '"city"']),
        (
            ("preview", "--dataset", "orders", "--where", "sum(amount) > 3"),
            EXIT_FAILED,
            ["each row alone", "sum(amount)"],
        ),
        (("preview", "--dataset", "orders", "--where", "amount IN (SELECT 1)"), EXIT_FAILED, ["each row alone"]),
        (("preview", "--dataset", "orders", "--where", "amount"), EXIT_FAILED, ["is true or false", "Int64"]),
        (("query", "SELECT * FROM nowhere"), EXIT_FAILED, ["nowhere", "not found"]),
        (("query", "DROP TABLE orders"), EXIT_FAILED, ["only statements that read"]),
        (("query", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.csv'"), EXIT_FAILED, ["only statements that read"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bad_command(person: Person, arguments: tuple[str, ...], code: int, words: list[str]) -> None:
    found, said = person(*arguments)
    assert found == code, said
    assert_said(said, *words)
    assert not Path("out.csv").exists()
    assert_mended(person)


# ---- tables --------------------------------------------------------------------------------------------------------


def away(person: Person) -> Callable[[], object]:
    path = person.workspace.datasets["orders"].path
    hidden = path.rename(path.with_name("away"))
    return lambda: hidden.rename(path)


def unreadable_feature(person: Person) -> Callable[[], object]:
    feature = ["typeWidening"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": feature, "writerFeatures": feature}
    entry = person.workspace.datasets["orders"].log / f"{1:020}.json"
    entry.write_text(
        "".join(json.dumps(one) + "\n" for one in ({"commitInfo": {"timestamp": 1}}, {"protocol": protocol}))
    )
    return entry.unlink


def corrupt_entry(person: Person) -> Callable[[], object]:
    table = person.workspace.datasets["orders"]
    entry = table.log / f"{table.append(SECOND):020}.json"
    good = entry.read_text()
    entry.write_text('{"add": {"path"')
    return lambda: entry.write_text(good)


def damaged_file(person: Person) -> Callable[[], object]:
    table = person.workspace.datasets["orders"]
    table.append(SECOND)
    newest = max(table.path.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    good = newest.read_bytes()
    newest.write_bytes(bytes(len(good)))
    return lambda: newest.write_bytes(good)


def missing_file(person: Person) -> Callable[[], object]:
    table = person.workspace.datasets["orders"]
    table.append(SECOND)
    newest = max(table.path.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    hidden = newest.rename(newest.with_suffix(".away"))
    return lambda: hidden.rename(newest)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (away, ['dataset "orders"', "lake/orders", "create the input's table, or correct its uri"]),
        (unreadable_feature, ['dataset "orders", which cannot be read', "'typeWidening'", "feature"]),
        (corrupt_entry, ['dataset "orders", which cannot be read', "damaged at version 1, line 1"]),
        (damaged_file, ["lake/orders/part-", "of version '1'", "cannot be read", "Invalid Parquet file"]),
        (missing_file, ["lake/orders/part-", "of version '1'", "is missing"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_table_that_cannot_be_read(
    person: Person, mistake: Callable[[Person], Callable[[], object]], words: list[str]
) -> None:
    before = oracle.read(person.workspace.target("cities"))
    mend = mistake(person)
    person.workspace.datasets["notes"].append([{"text": "more"}])
    code, said = person("run", "--once")
    assert code == EXIT_FAILED
    assert_said(said, *words, "failed: cities", "1 refreshed")
    assert "no Delta table" not in said or mistake is away
    _, said = person("why", "cities")
    assert_said(said, *words)
    assert "run why" not in said
    if mistake not in (damaged_file, missing_file):
        code, said = person("check")
        assert code == EXIT_CONFIGURATION
        assert_said(said, "deltakeep.toml:6:", 'dataset "orders" cannot be read', "hint:")
        code, said = person("doctor")
        assert code == EXIT_CHECK_FAILED
        assert_said(said, "failure orders", "1 failure")
    oracle.assert_equal(before, oracle.read(person.workspace.target("cities")), about="the last good content")
    mend()
    assert_mended(person)


@pytest.mark.parametrize("table", ["plan_artifacts", "refreshes", "lineage"])
def test_damaged_records_cost_history_only(person: Person, table: str) -> None:
    entry = person.workspace.root / "state" / table / "_delta_log" / f"{0:020}.json"
    good = entry.read_text()
    entry.write_text('{"add": {"path"')
    person.workspace.datasets["orders"].append(SECOND)
    code, said = person("run", "--once")
    assert code == EXIT_OK
    assert_said(said, f"state/{table}' is damaged at version 0", "artifacts: The history could not be")
    person.workspace.assert_right()
    entry.write_text(good)
    assert_mended(person)


def test_damaged_commands_stop_everything_since_nobody_knows_what_is_paused(person: Person) -> None:
    entry = person.workspace.root / "state" / "commands" / "_delta_log" / f"{0:020}.json"
    good = entry.read_text()
    entry.write_text('{"add": {"path"')
    for command in (("run", "--once"), ("status",), ("pause", "cities")):
        code, said = person(*command)
        assert code == EXIT_FAILED
        assert_said(said, "error[corrupt_log]", "state/commands' is damaged at version 0", "hint:")
    entry.write_text(good)
    assert_mended(person)


def test_a_target_whose_files_somebody_deleted_is_made_again(person: Person) -> None:
    for file in person.workspace.target("cities").glob("*.parquet"):
        file.unlink()
    person.workspace.datasets["orders"].append(SECOND)
    code, said = person("run", "--once")
    assert code == EXIT_OK, said
    assert_said(said, "cities recompute committed")
    person.workspace.assert_right()


# ---- the machine ---------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, bytes_: int) -> Iterator[None]:
    """Put a file system of its own into a folder; skips where nobody lets us."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={bytes_}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system in memory")
def test_a_disk_that_is_full_is_told_and_keeps_the_last_good_content(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    workspace.dataset("orders", ORDERS, FIRST)
    workspace.view("cities", CITIES)
    person = Person(workspace, capfd)
    with small_disk(tmp_path / "views_out", 100_000):
        assert person("run", "--once")[0] == EXIT_OK
        many = [{"id": number, "city": f"a city named {number}" * 3, "amount": number} for number in range(6_000)]
        workspace.datasets["orders"].append(many)
        before = oracle.read(workspace.target("cities"))
        files = sorted(workspace.target("cities").rglob("*"))
        code, said = person("run", "--once")
        assert code == EXIT_FAILED
        assert_said(said, "No space left on device", "views_out/cities", "permissions and space", "failed: cities")
        assert sorted(workspace.target("cities").rglob("*")) == files, "something half-written was left"
        oracle.assert_equal(before, oracle.read(workspace.target("cities")), about="the last good content")
        code, said = person("doctor")
        assert code == EXIT_CHECK_FAILED
        assert_said(said, "failure targets", "make room")
        SourceTable(workspace.datasets["orders"].path, ORDERS).delete("id > 100")
        assert_mended(person)
