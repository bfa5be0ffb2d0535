"""The rules that ship: sound to promtool, right on good and bad days, and with a page for each alert."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.application import VERBS
from daemon.cli.export import RUNBOOKS
from grafana.alerts import ALERTS, Alert
from grafana.make import FILES, FOLDER
from grafana.records import RECORDS
from tests.grafana.alert_cases import CASES, DAEMON, Case, Day
from tests.grafana.series import names_in, shown_series

ROOT = Path(__file__).resolve().parents[2]
RULES = [FOLDER / name for name in FILES if name.startswith("rules/")]
BY_NAME = {alert.name: alert for alert in ALERTS}
SECTIONS = ("Symptom", "Confirm", "Decide", "Fix", "Over when", "Do not")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("rules/")])
def test_a_rule_file_is_what_the_code_makes(name: str) -> None:
    assert (FOLDER / name).read_text() == FILES[name]()


@needs_promtool
def test_promtool_has_nothing_to_say_about_the_rules() -> None:
    told = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert f"{len(ALERTS)} rules found" in told
    assert f"{len(RECORDS)} rules found" in told


@needs_promtool
@pytest.mark.parametrize("name", sorted({case.alert for case in CASES}))
def test_an_alert_fires_on_its_bad_days_and_on_no_other(name: str, tmp_path: Path) -> None:
    groups = [group for case in CASES if case.alert == name for group in (_fires(case), _quiet(case))]
    file = tmp_path / "test.yml"
    order = ["deltakeep.records", "deltakeep.alerts"]
    step = f"{min(case.step for case in CASES if case.alert == name)}m"
    tests = {"rule_files": [*map(str, RULES)], "group_eval_order": order, "evaluation_interval": step, "tests": groups}
    file.write_text(json.dumps(tests))
    promtool("test", "rules", file)


def _fires(case: Case) -> dict[str, Any]:
    alert = BY_NAME[case.alert]
    labels = {**({"job": "deltakeep", "instance": "a:9187"} if case.of_daemon else {}), **case.labels}
    expected = {
        "exp_labels": {**labels, "severity": alert.severity},
        "exp_annotations": {
            "summary": _said(alert.summary, labels, case.value),
            "description": _said(alert.description, labels, case.value),
            "runbook_url": f"{RUNBOOKS}/{alert.page}.md",
        },
    }
    return _group(f"{case.alert} fires", case.fires, case, [expected])


def _quiet(case: Case) -> dict[str, Any]:
    return _group(f"{case.alert} is quiet", case.quiet, case, [])


def _group(name: str, day: Day, case: Case, expected: list[dict[str, Any]]) -> dict[str, Any]:
    series = [{"series": _with_daemon(one), "values": values} for one, values in day.series.items()]
    looked = {"eval_time": f"{day.minute}m", "alertname": case.alert, "exp_alerts": expected}
    return {"name": name, "interval": f"{case.step}m", "input_series": series, "alert_rule_test": [looked]}


def _with_daemon(series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    return f"{name}{{{','.join(part for part in (DAEMON, labels) if part)}}}"


def _said(text: str, labels: dict[str, str], value: str) -> str:
    text = re.sub(r"\{\{ \$labels\.(\w+) }}", lambda found: labels.get(found[1], ""), text)
    return re.sub(r"\{\{ \$value[^}]*}}", value, text)


def test_every_alert_has_a_day_in_both_directions() -> None:
    assert {case.alert for case in CASES} == set(BY_NAME)
    assert max(Counter(alert.name for alert in ALERTS).values()) == 1


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_type_next(alert: Alert) -> None:
    command = re.search(r"Next: `([^`]+)`$", alert.description)
    assert command is not None, "the description ends with a command"
    words = command[1].split()
    assert words[0] in {"daemonctl", "systemctl", "journalctl"}
    assert words[0] != "daemonctl" or words[1] in VERBS
    assert alert.summary.endswith(".")
    assert alert.name.startswith("Deltakeep")


@pytest.mark.parametrize("page", sorted({alert.page for alert in ALERTS}))
def test_the_page_of_an_alert_leads_from_the_symptom_to_its_end(page: str) -> None:
    text = (ROOT / RUNBOOKS / f"{page}.md").read_text()
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS
    for alert in ALERTS:
        assert (alert.name in text) == (alert.page == page)
    confirm = text.split("## Confirm\n")[1].split("\n## ")[0]
    assert re.search(r"^```sh\n(daemonctl|systemctl|journalctl|curl) ", confirm, re.MULTILINE)
    assert re.search(r"^\|---\|---\|", text.split("## Decide\n")[1], re.MULTILINE)
    for verb in re.findall(r"\bdaemonctl (\w+)", text):
        assert verb in VERBS, verb


def test_no_page_is_left_without_its_alert() -> None:
    pages = {path.stem for path in (ROOT / RUNBOOKS).glob("alert-*.md")}
    assert pages == {alert.page for alert in ALERTS}


def test_rules_name_only_series_that_exist() -> None:
    for name, expr in [(one.name, one.expr) for one in ALERTS] + [(one.name, one.expr) for one in RECORDS]:
        assert names_in(expr), name
        assert names_in(expr) <= shown_series(), name
