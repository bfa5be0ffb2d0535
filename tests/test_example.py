"""The example replays real flights, and every view of it is right at the end."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from datafusion import SessionContext

from daemon.cli import begin
from daemon.cli.application import run
from datafusion_ext import register_functions
from registry.errors import EXIT_OK
from tests import oracle
from tests.sources import ROOT


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_replay", ROOT / "examples" / "flights" / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_week_of_flights_ends_with_every_view_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries: list[Any] = []
    replay_of_the_command = begin._replay

    def replay_and_keep(*arguments: Any) -> Any:
        summaries.append(replay_of_the_command(*arguments))
        return summaries[-1]

    monkeypatch.setattr(begin, "_replay", replay_and_keep)
    code = run(["demo", str(tmp_path), "--days", "6"])
    shown = capsys.readouterr().out
    (summary,) = summaries
    told = shown.splitlines()
    assert (code, summary.right) == (EXIT_OK, True), told
    assert told[-1] == "8 views compared: equal to the recomputation"
    told_at_the_end = rf"^{summary.commits} commits taken in by .*; .* read, recomputing each time would .* saved\)$"
    assert re.search(told_at_the_end, shown, re.MULTILINE)
    # Days as commits, outcomes that come late, a correction, deletes, and files that are merged in between.
    for happened in (
        r"flights: write, [\d,]+ rows",
        r"weather: write, \d+ rows",
        r"flights: merge, [1-9]\d* late outcomes",
        r"flights: delete, [1-9]\d* cancelled flights withdrawn",
        r"planes: update, the seats of \w+",
        r"flights: optimize, [1-9]\d* files into \d+",
    ):
        assert re.search(happened, shown), (happened, told)
    # What was refreshed, why, how much was read and saved.
    assert re.search(
        r"clean_flights: incremental \(incremental\), \+[\d,]+ -[\d,]+ rows, read [\d.]+ MB, \d+% less than", shown
    )
    assert len(summary.verified) == 8
    assert summary.refreshes["incremental"] > 10, told
    assert summary.bytes_read < summary.bytes_recompute
    assert any("worst_days: recompute (limit_not_incremental)" in line for line in told), told
    # A view in Python, views over views, and one with a join.
    for view in ("busy_routes", "daily_figures", "worst_days", "delays_in_weather"):
        assert re.search(rf"  {view}: [\d,]+ rows, equal", shown), told
    # The audit is ours; the oracle is not.
    inputs = {name: oracle.read(tmp_path / "lake" / name) for name in ("flights", "weather", "planes")}
    query = (tmp_path / "views" / "delays_in_weather.sql").read_text()
    found = oracle.read(tmp_path / "views_out" / "delays_in_weather")
    oracle.assert_equal(oracle.recompute(query, inputs), found, about="delays_in_weather")
    # Nor is the PyPI DataFusion that plans `aircraft_days`, with our functions in its session.
    context = SessionContext()
    register_functions(context)
    context.from_arrow(oracle.read(tmp_path / "views_out" / "clean_flights"), "clean_flights")
    context.from_arrow(inputs["planes"], "planes")
    query = (tmp_path / "views" / "aircraft_days.sql").read_text()
    assert "is_late(f.arr_delay)" in query
    expected = context.sql(query.replace("is_late(f.arr_delay)", "f.arr_delay > 15")).to_arrow_table()
    found = oracle.read(tmp_path / "views_out" / "aircraft_days")
    oracle.assert_equal(expected, found, about="aircraft_days")


def test_a_directory_that_no_replay_made_is_refused(replay: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no replay made it"):
        replay.main(tmp_path, days=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_more_days_than_there_are_is_refused_before_anything_is_written(replay: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="92 days"):
        replay.main(tmp_path / "new", days=93)
    assert not (tmp_path / "new").exists()
