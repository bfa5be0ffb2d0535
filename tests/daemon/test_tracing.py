"""Spans of real cycles: poll, then for each refresh plan, execute, commit; sent to a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from daemon.clock import SystemClock
from daemon.failure import Failure
from daemon.integrations.happenings import CycleEventSeen, CycleFailed
from daemon.integrations.tracing import Tracing
from daemon.live_keeper import LiveKeeper, open_keeper
from registry.integrations import TracingSettings
from registry.secrets import remember
from tests.daemon.receiver import receiver
from tests.daemon.test_lineage_events import cycle
from tests.staged_faults import CITIES, MORE, Site, make_site

SETTINGS = TracingSettings("otlp", "shops")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "shop")


@pytest.fixture
def keeper(site: Site) -> Iterator[LiveKeeper]:
    opened = open_keeper(site.root, SystemClock())
    yield opened
    opened.close()


def spans_of(keeper: LiveKeeper) -> dict[str, ReadableSpan]:
    """The spans by their names, below a refresh by that of the view and their own."""
    exporter = InMemorySpanExporter()
    outlet: Any = Tracing(SETTINGS, "shop", lambda _result: None, exporter)
    exporter.shutdown = lambda: None  # type: ignore[method-assign]
    cycle(keeper, outlet)
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    return {(f"{names[span.parent.span_id]}/" if span.parent else "") + span.name: span for span in spans}


def test_a_cycle_is_a_trace_of_poll_plan_execute_commit(site: Site, keeper: LiveKeeper) -> None:
    site.orders.append(MORE)
    spans = spans_of(keeper)
    inner = [f"refresh {view}/{part}" for view in ("cities", "large", "top") for part in ("plan", "execute", "commit")]
    refreshes = [f"cycle/refresh {view}" for view in ("cities", "large", "top")]
    assert sorted(spans) == sorted(["cycle", "cycle/poll", *refreshes, *inner])
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1
    for view in ("cities", "large", "top"):
        whole = spans[f"cycle/refresh {view}"]
        plan, execute, commit = (spans[f"refresh {view}/{part}"] for part in ("plan", "execute", "commit"))
        moments = [whole.start_time, plan.start_time, plan.end_time, execute.start_time, execute.end_time]
        moments += [commit.start_time, commit.end_time, whole.end_time]
        assert moments == sorted(moments, key=lambda moment: moment or 0)
    attributes = dict(spans["cycle/refresh cities"].attributes or {})
    assert attributes["deltakeep.strategy"] == "incremental"
    assert attributes["deltakeep.version"] == 1
    root = dict(spans["cycle"].attributes or {})
    assert (root["deltakeep.cause"], root["deltakeep.views"], root["deltakeep.refreshed"]) == ("test", 3, 3)
    resource = dict(spans["cycle"].resource.attributes)
    assert (resource["service.name"], resource["deltakeep.project"]) == ("shops", "shop")


def test_a_quiet_cycle_has_no_refreshes_and_a_failed_one_has_its_error(site: Site, keeper: LiveKeeper) -> None:
    assert sorted(spans_of(keeper)) == ["cycle", "cycle/poll"]
    site.workspace.view("cities", CITIES.replace("sum(amount)", "sum(CAST(city AS INT))"))
    keeper.reload()
    spans = spans_of(keeper)
    failed = spans["cycle/refresh cities"]
    assert failed.status.status_code is StatusCode.ERROR
    assert "Cannot cast string 'Rome'" in str(failed.status.description)
    assert "refresh cities/commit" not in spans


def test_a_cycle_without_a_report_is_an_error_without_secrets() -> None:
    remember(["a secret of a cycle"])
    exporter, results = InMemorySpanExporter(), list[str]()
    exporter.shutdown = lambda: None  # type: ignore[method-assign]
    tracing = Tracing(SETTINGS, "shop", results.append, exporter)
    tracing.take(CycleEventSeen(1_000, {"kind": "cycle_started", "cycle_id": "c1", "views": ["a"]}))
    tracing.take(CycleFailed(2_000, ("a",), Failure("internal", "no, a secret of a cycle")))
    tracing.close()
    (root,) = [span for span in exporter.get_finished_spans() if span.name == "cycle"]
    assert root.status.description == "no, ***"
    assert (root.start_time, root.end_time) == (1_000_000_000, 2_000_000_000)
    assert results == ["ok"]


def test_spans_reach_a_receiver_over_http_and_one_that_refuses_is_counted(site: Site, keeper: LiveKeeper) -> None:
    site.orders.append(MORE)
    results: list[str] = []
    with receiver(200, 400) as one:
        settings = TracingSettings("otlp", "shops", url=f"{one.url}/v1/traces", headers={"X-Key": "a key of traces"})
        for _ in range(2):
            outlet: Any = Tracing(settings, "shop", results.append)
            cycle(keeper, outlet)
        first = one.received[0]
    assert results == ["ok", "failed"]
    assert (first.path, first.headers["X-Key"]) == ("/v1/traces", "a key of traces")
    request = ExportTraceServiceRequest.FromString(first.body)
    names = [span.name for span in request.resource_spans[0].scope_spans[0].spans]
    assert names.count("commit") == 3
