"""OpenTelemetry: each cycle is a trace, `poll` first, then for each refreshed view `plan`, `execute` and `commit`.

Spans are made when the cycle is over, from the events and their moments, so that a refresh never waits for one.
Needs the extra `opentelemetry`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from daemon.build import product_version
from daemon.integrations.background import Background, Undelivered
from daemon.integrations.happenings import CycleEnded, CycleEventSeen, CycleFailed, Happening
from registry.integrations import TracingSettings
from registry.secrets import masked

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer
    from opentelemetry.sdk.trace.export import SpanExporter

EVENTS_MAX: Final = 50_000
"""Events of one cycle that are kept; a larger cycle loses the spans of its last views."""
BATCH: Final = 512
_NS: Final = 1_000_000

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CycleSeen:
    """A whole cycle: its events with their moments, and how it ended."""

    events: tuple[CycleEventSeen, ...]
    end: CycleEnded | CycleFailed


class Tracing:
    """Sends the spans of cycles to one place."""

    def __init__(
        self,
        settings: TracingSettings,
        project: str,
        on_result: Callable[[str], None],
        exporter: SpanExporter | None = None,
    ) -> None:
        """Raises `ImportError` where the extra is not installed."""
        self._spans = CycleSpans(settings.service, project)
        self._exporter = exporter or exporter_of(settings)
        self._events: list[CycleEventSeen] = []
        self._background: Background[CycleSeen] = Background("tracing", self._deliver, on_result, capacity=100)

    def take(self, happening: Happening) -> None:
        """Notice what happened; used by one thread at a time."""
        match happening:
            case CycleEventSeen(event=event):
                if event.get("kind") == "cycle_started":
                    self._events.clear()
                if len(self._events) < EVENTS_MAX:
                    self._events.append(happening)
            case CycleEnded() | CycleFailed():
                self._background.give(CycleSeen(tuple(self._events), happening))
                self._events.clear()
            case _:
                return

    def close(self) -> None:
        """Deliver what waits, briefly."""
        self._background.close()
        self._exporter.shutdown()

    def _deliver(self, cycle: CycleSeen) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans = self._spans.of(cycle)
        for start in range(0, len(spans), BATCH):
            if self._exporter.export(spans[start : start + BATCH]) is not SpanExportResult.SUCCESS:
                raise Undelivered("the receiver of spans did not take them")


def exporter_of(settings: TracingSettings) -> SpanExporter:
    """The exporter that the settings name."""
    if settings.exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        endpoint=settings.url, headers=dict(settings.headers), timeout=max(1, settings.timeout_ms // 1000)
    )


class CycleSpans:
    """Makes the spans of a cycle."""

    def __init__(self, service: str, project: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        ended: list[ReadableSpan] = []

        class Collect(SpanProcessor):
            """Takes the spans that have ended, for one export."""

            def on_end(self, span: ReadableSpan) -> None:
                ended.append(span)

        self._ended = ended
        resource = Resource.create(
            {"service.name": service, "service.version": product_version(), "deltakeep.project": project}
        )
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(Collect())
        self._tracer: Tracer = provider.get_tracer("deltakeep", product_version())  # type: ignore[assignment]

    def of(self, cycle: CycleSeen) -> list[ReadableSpan]:
        """The spans of a cycle, the innermost first."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        self._ended.clear()
        started = next((one for one in cycle.events if one.event.get("kind") == "cycle_started"), None)
        end = cycle.end
        records: list[Json] = []
        if isinstance(end, CycleEnded):
            started_ms, ended_ms, failure = end.started_ms, end.ended_ms, ""
            records = [one for one in end.outcome.report.get("views", ()) if _was_refreshed(one)]
        else:
            started_ms = end.at_ms if started is None else started.at_ms
            ended_ms, failure = end.at_ms, end.failure.message
        root: Span = self._tracer.start_span("cycle", start_time=started_ms * _NS)  # type: ignore[assignment]
        context = set_span_in_context(root)
        if started is not None:
            root.set_attribute("deltakeep.cycle_id", str(started.event.get("cycle_id", "")))
            root.set_attribute("deltakeep.cause", str(started.event.get("cause", "")))
            root.set_attribute("deltakeep.views", len(started.event.get("views") or ()))
            self._span("poll", started_ms, started.at_ms, context)
        for record in records:
            self._refresh(record, [one for one in cycle.events if one.event.get("view") == record["view"]], context)
        root.set_attribute("deltakeep.refreshed", len(records))
        if failure:
            root.set_status(Status(StatusCode.ERROR, masked(failure)))
        root.end(ended_ms * _NS)
        return list(self._ended)

    def _refresh(self, record: Json, events: list[CycleEventSeen], context: Context) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        begin_ms = int(record["started_ms"])
        end_ms = begin_ms + int(record["elapsed_ms"])
        span: Span = self._tracer.start_span(  # type: ignore[assignment]
            f"refresh {record['view']}", context, start_time=begin_ms * _NS
        )
        for name in ("view", "strategy", "reason", "outcome", "version", "rows_inserted", "rows_deleted", "bytes_read"):
            if record.get(name) is not None:
                span.set_attribute(f"deltakeep.{name}", record[name])
        inside = set_span_in_context(span)
        planned_ms = _moment(events, "refresh_planned", None)
        committing_ms = _moment(events, "refresh_step", "committing")
        if planned_ms is None:
            self._span("plan", begin_ms, end_ms, inside)
        else:
            self._span("plan", begin_ms, planned_ms, inside)
            self._span("execute", planned_ms, committing_ms or end_ms, inside)
        if committing_ms is not None:
            self._span("commit", committing_ms, end_ms, inside)
        if record.get("outcome") == "failed":
            span.set_status(Status(StatusCode.ERROR, masked(str(record.get("error") or record.get("message")))))
        span.end(end_ms * _NS)

    def _span(self, name: str, begin_ms: int, end_ms: int, context: Context) -> None:
        # The clock may have been stepped between two moments.
        self._tracer.start_span(name, context, start_time=begin_ms * _NS).end(max(begin_ms, end_ms) * _NS)


def _was_refreshed(record: Json) -> bool:
    return record.get("strategy") != "skip" and record.get("outcome") in {"committed", "unchanged", "failed"}


def _moment(events: list[CycleEventSeen], kind: str, step: str | None) -> int | None:
    """When an event of a kind was seen last: what was given up and planned again counts from there."""
    moments = [
        one.at_ms for one in events if one.event.get("kind") == kind and (step is None or one.event.get("step") == step)
    ]
    return moments[-1] if moments else None
