"""Webhooks, and what all integrations promise: one message at each end of an incident, and no refresh ever waits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import SystemClock
from daemon.failure import Failure
from daemon.integrations import webhook as webhooks
from daemon.integrations.background import Background
from daemon.integrations.happenings import CycleEnded, CycleFailed, Happening, Reloaded, StatesSeen
from daemon.integrations.incidents import Incidents
from daemon.integrations.outlets import ExtraMissing, Outlets, build_outlets
from daemon.integrations.webhook import Webhook, cloud_event, signature
from daemon.metrics import Metrics
from daemon.port import CycleOutcome, ViewOutcome
from registry.errors import DefinitionError, Problem
from registry.integrations import IntegrationSettings, LineageSettings, WebhookSettings
from registry.secrets import remember
from tests.daemon.fakes import FakeKeeper, ManualClock
from tests.daemon.receiver import receiver
from tests.daemon.running import running

SECRET = "a secret of thirty characters.."


def outcome(**views: str) -> CycleOutcome:
    found = tuple(
        ViewOutcome(
            name,
            "incremental",
            "refresh_failed",
            word,
            failed=word == "failed",
            waiting=word == "waiting",
            paused=word == "paused",
            error="boom" if word == "failed" else None,
        )
        for name, word in views.items()
    )
    return CycleOutcome(found, {"views": []})


def ended(at_ms: int, **views: str) -> CycleEnded:
    return CycleEnded(at_ms - 10, at_ms, outcome(**views))


def told(*happenings: Happening) -> list[tuple[str, str]]:
    """What is told of them, as word and subject."""
    incidents, found = Incidents(), []
    for happening in happenings:
        incidents, notifications = incidents.noticed(happening)
        found += [(one.word, one.incident.subject) for one in notifications]
    return found


def test_an_incident_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    assert told(
        ended(1, clean="failed", daily="waiting"),
        ended(2, clean="failed"),
        CycleFailed(3, ("clean",), Failure("internal", "boom")),
        ended(4, clean="committed", daily="committed"),
        ended(5, clean="committed"),
        ended(6, clean="failed"),
    ) == [("failed", "clean"), ("recovered", "clean"), ("failed", "clean")]


def test_a_paused_or_waiting_view_neither_begins_nor_ends_one() -> None:
    assert told(
        ended(1, clean="failed"),
        ended(2, clean="paused"),
        ended(3, clean="waiting"),
        StatesSeen(4, {"clean": "paused"}),
    ) == [("failed", "clean")]


def test_a_late_view_is_told_until_it_is_on_time_and_running_changes_nothing() -> None:
    states = ["late", "running", "late", "failed", "due", "late", "fresh"]
    assert told(*(StatesSeen(at_ms, {"clean": state}) for at_ms, state in enumerate(states))) == [
        ("late", "clean"),
        ("fresh", "clean"),
        ("late", "clean"),
        ("fresh", "clean"),
    ]


def test_a_view_that_is_taken_out_ends_its_incidents() -> None:
    assert told(ended(1, clean="failed"), StatesSeen(2, {"clean": "late"}), StatesSeen(3, {"daily": "fresh"})) == [
        ("failed", "clean"),
        ("late", "clean"),
        ("fresh", "clean"),
        ("recovered", "clean"),
    ]


def test_a_reload_that_fails_is_told_once_however_often_it_is_tried() -> None:
    broken = Failure("definition_invalid", "1 problem", "mend it")
    assert told(Reloaded(1, broken), Reloaded(2, broken), Reloaded(3), Reloaded(4)) == [
        ("reload_failed", ""),
        ("reloaded", ""),
    ]


def test_both_messages_of_an_incident_carry_the_same_id_and_no_secret() -> None:
    remember(["secret of an error message"])
    incidents, (begin,) = Incidents().noticed(
        CycleFailed(1_700_000_000_000, ("clean",), Failure("internal", "no secret of an error message"))
    )
    _, (end,) = incidents.noticed(ended(1_700_000_060_000, clean="committed"))
    first, second = cloud_event(begin, "shop"), cloud_event(end, "shop")
    assert first["data"]["incident"] == second["data"]["incident"]
    assert first["id"] != second["id"]
    assert first["data"]["message"] == "no ***"
    assert {name: second[name] for name in ("specversion", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "source": "urn:deltakeep:shop",
        "type": "deltakeep.view.recovered",
        "subject": "clean",
        "time": "2023-11-14T22:14:20.000Z",
    }


# --- delivery ---------------------------------------------------------------------------------------------------------


class Results(list[str]):
    """What became of each delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Condition()

    def __call__(self, result: str) -> None:
        with self.came:
            self.append(result)
            self.came.notify_all()

    def until(self, count: int) -> list[str]:
        with self.came:
            assert self.came.wait_for(lambda: len(self) >= count, 20)
            return list(self)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_WAIT_S", 0.01)


def hook(url: str, results: Callable[[str], None], **options: Any) -> Webhook:
    return Webhook(WebhookSettings("ops", url, **options), "shop", ManualClock(1_700_000_000_000), results)


def test_a_notification_is_posted_with_a_signature_that_its_receiver_can_check() -> None:
    results = Results()
    with receiver() as one:
        webhook = hook(f"{one.url}/hook", results, secret=SECRET, headers={"Authorization": "Bearer x"})
        webhook.take(ended(5, clean="failed"))
        (request,) = one.until(1)
        assert results.until(1) == ["ok"]
        webhook.close()
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["Authorization"] == "Bearer x"
    moment, digest = (part.partition("=")[2] for part in request.headers["Deltakeep-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), moment.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert (moment, digest) == ("1700000000", expected)
    assert signature("another secret", request.body, 1_700_000_000) != f"t={moment},v1={digest}"
    assert json.loads(request.body)["type"] == "deltakeep.view.failed"


def test_a_receiver_that_is_not_ready_is_tried_again_and_one_that_refuses_is_not() -> None:
    for answers, requests, result in (([503, 429, 200], 3, "ok"), ([500] * 9, 5, "failed"), ([404], 1, "failed")):
        results = Results()
        with receiver(*answers) as one:
            webhook = hook(one.url, results)
            webhook.take(ended(5, clean="failed"))
            assert results.until(1) == [result]
            webhook.close()
            assert len(one.received) == requests


def test_a_redirect_is_not_followed() -> None:
    results = Results()
    with receiver(302) as one:
        webhook = hook(one.url, results, secret=SECRET)
        webhook.take(ended(5, clean="failed"))
        assert results.until(1) == ["failed"]
        webhook.close()
        assert [request.path for request in one.received] == ["/"]


def test_what_is_told_is_chosen_by_kind_and_by_view() -> None:
    results = Results()
    with receiver() as one:
        webhook = hook(one.url, results, notifications=("failed",), views=("daily",))
        webhook.take(ended(1, clean="failed"))
        webhook.take(StatesSeen(2, {"daily": "late", "clean": "late"}))
        webhook.take(ended(3, daily="failed"))
        (request,) = one.until(1)
        webhook.close()
        assert json.loads(request.body)["subject"] == "daily"
        assert len(one.received) == 1


def test_a_receiver_that_hangs_makes_nobody_wait_and_what_does_not_fit_is_counted() -> None:
    hold, results = threading.Event(), Results()

    def deliver(_item: int) -> None:
        hold.wait(20)

    background: Background[int] = Background("slow", deliver, results, capacity=2)
    began_ms = SystemClock().monotonic_ms()
    for number in range(10):
        background.give(number)
    assert SystemClock().monotonic_ms() - began_ms < 1_000
    assert results.count("dropped") >= 7
    began_ms = SystemClock().monotonic_ms()
    background.close(0.05)
    assert SystemClock().monotonic_ms() - began_ms < 2_000
    hold.set()


def test_closing_delivers_what_waits() -> None:
    delivered: list[int] = []
    background: Background[int] = Background("quick", delivered.append, lambda _result: None)
    for number in range(100):
        background.give(number)
    background.close()
    assert delivered == list(range(100))


def test_a_thread_survives_whatever_delivering_raises() -> None:
    results = Results()

    def deliver(item: int) -> None:
        if item % 2:
            raise RuntimeError("boom")

    background: Background[int] = Background("odd", deliver, results)
    for number in range(4):
        background.give(number)
    background.close()
    assert results == ["ok", "failed", "ok", "failed"]


# --- in the daemon ----------------------------------------------------------------------------------------------------


def test_the_daemon_tells_a_failed_view_a_refused_reload_and_their_ends(tmp_path: Path) -> None:
    with receiver() as one:
        metrics = Metrics(process_metrics=False)
        settings = IntegrationSettings((WebhookSettings("ops", one.url, secret=SECRET),))
        outlets = build_outlets(settings, "shop", ManualClock(), metrics)

        async def scenario() -> None:
            keeper = FakeKeeper(failing={"fleet"})
            async with running(tmp_path, keeper, outlets=outlets) as service:
                await asyncio.to_thread(one.until, 1)
                keeper.failing.clear()
                await service.call("refresh", views=["fleet"])
                await asyncio.to_thread(one.until, 2)
                keeper.reload_error = DefinitionError([Problem("views/a.sql", 1, "not SQL")])
                for _ in range(2):
                    with pytest.raises(Exception, match="1 problem"):
                        await service.call("reload")
                keeper.reload_error = None
                await service.call("reload")
                await asyncio.to_thread(one.until, 4)

        asyncio.run(scenario())
        types = [json.loads(request.body)["type"] for request in one.received]
        assert types == [
            "deltakeep.view.failed",
            "deltakeep.view.recovered",
            "deltakeep.project.reload_failed",
            "deltakeep.project.reloaded",
        ]
        assert json.loads(one.received[2].body)["data"]["message"] == "views/a.sql:1: not SQL"
        assert metrics.registry.get_sample_value(
            "deltakeep_notifications_total", {"target": "ops", "result": "ok"}
        ) == len(types)


def test_an_integration_that_raises_hurts_no_refresh(tmp_path: Path) -> None:
    class Broken:
        def take(self, happening: Happening) -> None:
            raise RuntimeError("boom")

        def close(self) -> None:
            return

    async def scenario() -> None:
        outlets = Outlets(ManualClock(), [Broken()], portraits=True, states=True)
        async with running(tmp_path, FakeKeeper(), outlets=outlets) as service:
            await service.until(lambda: all(service.service.ready_gates().values()))
            assert (await service.call("refresh", views=["clean"]))["views"][0]["outcome"] == "committed"

    asyncio.run(scenario())


def test_an_extra_that_is_not_installed_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client.transport.file", None)
    settings = IntegrationSettings(lineage=LineageSettings("file", "deltakeep", file=Path("x.jsonl")))
    with pytest.raises(ExtraMissing) as caught:
        build_outlets(settings, "shop", ManualClock(), Metrics(process_metrics=False))
    assert caught.value.exit_code == 78
    assert 'pip install "deltakeep[openlineage]"' in caught.value.hint
