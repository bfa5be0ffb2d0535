"""A real daemon keeps the flights example, a real Prometheus watches it: every query that ships has something to show.

The run has what a month has: days of new data, a view that fails, definitions that break, a log that is damaged for
a while, a stranger who writes to a target.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from prometheus_client.parser import text_string_to_metric_families

from daemon.cli.begin import _example, _load
from daemon.client import DaemonClient
from daemon.failure import Failed
from daemon.metrics_catalogue import FAMILIES
from grafana.alerts import ALERTS
from grafana.boards import Board
from grafana.make import BOARDS, FILES, FOLDER
from grafana.records import RECORDS, TARGET_SECONDS_LEFT
from tests.grafana.prometheus import PATIENCE_S, Prometheus, fetch, free_port, prometheus, until
from tests.grafana.series import CLIENT
from tests.sources import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]
SPAN_S: Final = 300
"""Longer than the run, so that a window holds all of it."""
FOREIGN: Final = "worst_days"
"""A view whose target belongs to somebody else."""
CHOSEN: Final = {
    "$job": ".+",
    "$instance": ".+",
    "$view": ".+",
    "$dataset": ".+",
    "$__rate_interval": f"{SPAN_S}s",
    "$__range": f"{SPAN_S}s",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What is left of the run: Prometheus with its samples, and the last exposition."""

    prometheus: Prometheus
    exposition: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon in a process of its own."""

    project: Path
    url: str
    client: DaemonClient

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of a family that have these labels."""
        found = text_string_to_metric_families(fetch(f"{self.url}/metrics"))
        samples = [one for family in found for one in family.samples if one.name == f"deltakeep_{name}"]
        return sum(one.value for one in samples if labels.items() <= one.labels.items())

    def ready(self) -> bool:
        try:
            return fetch(f"{self.url}/-/ready").startswith("ready")
        except OSError:
            return False


@contextmanager
def daemon(project: Path) -> Iterator[Daemon]:
    port = free_port()
    with (project / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "-C", str(project), "--listen", f"127.0.0.1:{port}"],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        try:
            client = DaemonClient(project / "state" / "deltakeep.sock", timeout_s=PATIENCE_S)
            yield Daemon(project, f"http://127.0.0.1:{port}", client)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0, (project / "daemon.log").read_text()[-2_000:]
        finally:
            process.kill()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    replay = _load(_example())
    project = tmp_path_factory.mktemp("flights")
    replay.prepare(project)
    settings = project / "deltakeep.toml"
    text = re.sub(r'^(uri = "lake/.*")', r'\1\npoll = "1s"', settings.read_text(), flags=re.MULTILINE)
    settings.write_text(f"{text}\n{_told(project, free_port())}")
    lake = replay.Lake(project / "lake", lambda _event: None)
    lake.load()
    write_deltalake(project / "views_out" / FOREIGN, pa.table({"mine": [1]}))
    rules = [FOLDER / name for name in FILES if name.startswith("rules/")]
    with (
        daemon(project) as one,
        prometheus(project / "prometheus", one.url.removeprefix("http://"), rules) as watching,
    ):
        until("the first build is done", one.ready)
        until("it was scraped", lambda: (watching.value("sum(deltakeep_ready)") or 0) == 1)
        for day in range(2):
            lake.play(replay.FIRST_DAY + timedelta(days=day))
            _settled(one, "flights")
        _definitions_break(one)
        _log_is_damaged(one, "airports")
        _stranger_writes(one, "airport_movements")
        for operation in ("status", "preview", "history"):
            one.client.call(operation, {}, None)
        # Housekeeping comes once a minute, and looks at the targets that other views read.
        until("the clocks of targets are told", lambda: one.value("view_retention_seconds") > 0, 90)
        last = one.value("log_messages_total")
        until("everything was scraped", lambda: (watching.value("sum(deltakeep_log_messages_total)") or 0) >= last)
        until("alerts were evaluated", lambda: bool(watching.instant("ALERTS and on () up == 1")))
        until("records of what came last were made", lambda: bool(watching.instant(TARGET_SECONDS_LEFT)))
        yield Story(watching.stopped(), fetch(f"{one.url}/metrics"))


def _told(project: Path, nobody: int) -> str:
    """Integrations: a receiver of messages and one of traces that are away, and a file of lineage."""
    return f"""
[notifications.ops]
url = "http://127.0.0.1:{nobody}/"

[lineage]
transport = "file"
file = "{project / "lineage.jsonl"}"

[tracing]
exporter = "otlp"
url = "http://127.0.0.1:{nobody}/v1/traces"
"""


def _settled(one: Daemon, dataset: str) -> None:
    newest = DeltaTable(one.project / "lake" / dataset).version()

    def taken_in() -> bool:
        behind = one.value("view_pending_versions") + one.value("queue_length", queue="views")
        # The view that belongs to somebody else is tried again for ever.
        return one.value("dataset_pinned_version", dataset=dataset) == newest and behind <= 1

    until(f"version {newest} of {dataset} was taken in", taken_in)


def _definitions_break(one: Daemon) -> None:
    file = one.project / "views" / "broken.sql"
    file.write_text("SELECT FROM")
    with pytest.raises(Failed):
        one.client.call("reload", {}, None)
    until("the reload has failed", lambda: one.value("config_last_reload_successful") == 0)
    file.unlink()
    one.client.call("reload", {}, None)
    until("the reload has worked", lambda: one.value("config_last_reload_successful") == 1)


def _log_is_damaged(one: Daemon, name: str) -> None:
    log = one.project / "lake" / name / "_delta_log"
    entry = log / f"{DeltaTable(log.parent).version() + 1:020}.json"
    entry.write_text("this is no entry of a log")
    until("a look has failed", lambda: one.value("dataset_polls_total", dataset=name, result="error") > 0)
    entry.unlink()


def _stranger_writes(one: Daemon, view: str) -> None:
    target = DeltaTable(one.project / "views_out" / view)
    target.delete()
    one.client.call("refresh", {"views": [view]}, None)
    until("the view was recomputed", lambda: one.value("view_recomputes_total", reason="target_modified") > 0)


def chosen(text: str) -> str:
    for variable, value in CHOSEN.items():
        text = text.replace(variable, value)
    assert "$" not in text, text
    return text


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_query_of_every_panel_has_data(story: Story, board: Board) -> None:
    empty = []
    for panel in board.panels:
        for query in panel.queries:
            expr = chosen(query.expr)
            found = story.prometheus.instant(expr) if query.instant else story.prometheus.over(expr, 30)
            if not found:
                empty.append(f"{panel.title}: {expr}")
    assert not empty


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_variable_and_annotation_has_values(story: Story, board: Board) -> None:
    dashboard = json.loads((FOLDER / "dashboards" / f"{board.uid}.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "datasource":
            continue
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked is not None
        assert story.prometheus.instant(f"count by ({asked[2]}) ({chosen(asked[1])})"), variable["name"]
    for annotation in dashboard["annotations"]["list"]:
        assert story.prometheus.instant(chosen(annotation["expr"])), annotation["name"]


def test_every_recording_rule_has_data(story: Story) -> None:
    assert [record.name for record in RECORDS if not story.prometheus.instant(record.name)] == []


def test_every_rule_is_evaluated_without_an_error(story: Story) -> None:
    found = story.prometheus.rules()
    assert found.keys() == {one.name for one in ALERTS} | {one.name for one in RECORDS}
    assert {name: told for name, told in found.items() if told != ("ok", "")} == {}


def test_alerts_are_about_the_view_that_fails_and_about_no_other(story: Story) -> None:
    found = [one["metric"] for one in story.prometheus.instant("ALERTS")]
    about_view = {one["alertname"] for one in found if one.get("view") == FOREIGN}
    assert "DeltakeepFreshnessBudgetBurnFast" in about_view
    assert not [one for one in found if one.get("view") != FOREIGN and one["severity"] == "critical"]


def test_integrations_whose_receivers_are_away_are_about_to_alert_and_the_others_are_not(story: Story) -> None:
    found = [one["metric"] for one in story.prometheus.instant("ALERTS")]
    named = {one["integration"] for one in found if one["alertname"] == "DeltakeepIntegrationFailing"}
    assert named == {"webhook ops", "tracing"}


def test_every_family_of_the_catalogue_has_a_sample(story: Story) -> None:
    served = {one.name for family in text_string_to_metric_families(story.exposition) for one in family.samples}
    assert [family.full_name for family in FAMILIES if not served & set(family.series)] == []
    assert served >= CLIENT


def test_promtool_has_nothing_to_say_about_what_a_daemon_serves(story: Story) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=story.exposition, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_the_engine_saved_and_what_views_still_need_are_numbers_that_make_sense(story: Story) -> None:
    value = story.prometheus.value
    assert 0 < (value("max(instance:deltakeep_saved_bytes:ratio_rate1h)") or 0) < 1
    week_s = 7 * 86_400
    left = value('min(instance_dataset:deltakeep_dataset_pinned_left_seconds:min{dataset="flights"})')
    assert left is not None
    assert week_s - 3_600 < left <= week_s + 1
    assert (value('max(deltakeep_view_consecutive_failures{view="worst_days"})') or 0) >= 1
    assert value('sum(deltakeep_view_state{view="worst_days",state="failed"})') == 1


def _names(series: list[Any], label: str) -> set[str]:
    return {one["metric"][label] for one in series}


def test_views_and_their_causes_are_told_apart(story: Story) -> None:
    causes = _names(story.prometheus.instant("deltakeep_invalidations_total > 0"), "cause")
    assert causes >= {"first_build", "dataset", "view", "target"}
    assert "clean_flights" in _names(story.prometheus.instant("deltakeep_view_rows_total > 0"), "view")
