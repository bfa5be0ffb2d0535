"""OpenLineage: each refresh is a run of the view's job, told at its start and at its end.

START when a refresh is planned, then COMPLETE with versions, schema, column lineage and counts, or FAIL with the error.
The run's id is made from the cycle and the view, so that the events of one refresh belong together.
Needs the extra `openlineage`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import stamina

from daemon.build import product_version
from daemon.clock import timestamp_text
from daemon.integrations.background import Background, Undelivered
from daemon.integrations.happenings import CycleEnded, CycleEventSeen, Happening
from registry.integrations import LineageSettings
from registry.location import local_path
from registry.secrets import masked

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent
    from openlineage.client.generated.base import DatasetFacet
    from openlineage.client.transport.transport import Transport

PRODUCER: Final = "https://pypi.org/project/deltakeep"
ATTEMPTS: Final = 4
RETRY_TIMEOUT_S: Final = 30.0
_NAMESPACE: Final = uuid.UUID("0d7c8a5c-6f5b-5c62-9b0f-5e3a1b6c2d4e")
_DIRECT: Final = {"copied": "IDENTITY", "computed": "TRANSFORMATION", "aggregated": "AGGREGATION"}
_INDIRECT: Final = {"filtered_by": "FILTER", "joined_on": "JOIN", "grouped_by": "GROUP_BY", "ordered_by": "SORT"}

Json = Mapping[str, Any]


class Lineage:
    """Sends the events of refreshes to one place."""

    def __init__(
        self,
        settings: LineageSettings,
        project: str,
        on_result: Callable[[str], None],
        transport: Transport | None = None,
    ) -> None:
        """Raises `ImportError` where the extra is not installed."""
        self._events = RunEvents(settings.namespace, project)
        self._transport = transport or transport_of(settings)
        self._cycle_id = ""
        self._started: set[str] = set()
        self._background: Background[RunEvent] = Background("lineage", self._deliver, on_result)

    def take(self, happening: Happening) -> None:
        """Notice what happened; used by one thread at a time."""
        match happening:
            case CycleEventSeen(event=event) if event.get("kind") == "cycle_started":
                self._cycle_id = str(event.get("cycle_id", ""))
                self._started.clear()
            case CycleEventSeen(at_ms=at_ms, event=event) if event.get("kind") == "refresh_planned":
                self._start(self._cycle_id, str(event["view"]), at_ms)
            case CycleEnded(outcome=outcome, portraits=portraits):
                for record in outcome.report.get("views", ()):
                    for ended in self._events.end(record, portraits.get(record["view"], {})):
                        # A refresh that failed before it was planned has begun all the same.
                        self._start(str(record["cycle_id"]), str(record["view"]), int(record["started_ms"]))
                        self._background.give(ended)
            case _:
                return

    def close(self) -> None:
        """Deliver what waits, briefly."""
        self._background.close()

    def _start(self, cycle_id: str, view: str, at_ms: int) -> None:
        """Tell the start of a refresh once, even if it is given up and planned again."""
        if view not in self._started:
            self._started.add(view)
            self._background.give(self._events.start(cycle_id, view, at_ms))

    def _deliver(self, event: RunEvent) -> None:
        def worth_it(error: Exception) -> bool:
            return _may_succeed_later(error) and not self._background.closing

        try:
            for attempt in stamina.retry_context(
                on=worth_it, attempts=ATTEMPTS, timeout=RETRY_TIMEOUT_S, wait_initial=0.5, wait_max=10.0
            ):
                with attempt:
                    self._transport.emit(event)
        except Exception as error:  # noqa: BLE001 - the text may hold the address, so only the kind is told
            status = getattr(getattr(error, "response", None), "status_code", None)
            raise Undelivered(f"{type(error).__name__}" + (f", status {status}" if status else "")) from None


def transport_of(settings: LineageSettings) -> Transport:
    """The transport of `openlineage-python` that the settings name."""
    import logging

    from openlineage.client.transport.console import ConsoleConfig, ConsoleTransport
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

    match settings.transport:
        case "http":
            key = settings.api_key
            auth = TokenProvider({}) if key is None else ApiKeyTokenProvider({"apiKey": key})
            timeout_s = settings.timeout_ms / 1000
            # One try at a time: how often, and for how long, is decided here, not there.
            return HttpTransport(HttpConfig(url=settings.url, timeout=timeout_s, auth=auth, retry={"total": 0}))
        case "file":
            assert settings.file is not None, "a file transport has a file"
            settings.file.parent.mkdir(parents=True, exist_ok=True)
            return FileTransport(FileConfig(log_file_path=str(settings.file), append=True))
        case _:
            logging.getLogger("openlineage.client.transport.console").setLevel(logging.INFO)
            return ConsoleTransport(ConsoleConfig())


def _may_succeed_later(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(error, OSError) and (status is None or status == 429 or status >= 500)


class RunEvents:
    """Makes the events of refreshes; pure."""

    def __init__(self, namespace: str, project: str) -> None:
        self._namespace = namespace
        self._project = project

    def start(self, cycle_id: str, view: str, at_ms: int) -> RunEvent:
        """A refresh was planned."""
        from openlineage.client.event_v2 import RunEvent, RunState

        return RunEvent(
            eventType=RunState.START,
            eventTime=timestamp_text(at_ms),
            run=self._run(cycle_id, view),
            job=self._job(view, {}),
            producer=PRODUCER,
        )

    def end(self, record: Json, portrait: Json) -> Iterator[RunEvent]:
        """What a cycle's record tells of a refresh; nothing of a view that was left alone."""
        from openlineage.client.event_v2 import RunEvent, RunState

        outcome = str(record.get("outcome"))
        if outcome not in {"committed", "unchanged", "failed"} or record.get("strategy") == "skip":
            return
        view, failed = str(record["view"]), outcome == "failed"
        yield RunEvent(
            eventType=RunState.FAIL if failed else RunState.COMPLETE,
            eventTime=timestamp_text(int(record["started_ms"]) + int(record["elapsed_ms"])),
            run=self._run(str(record["cycle_id"]), view, record.get("error") if failed else None),
            job=self._job(view, portrait),
            inputs=[_input(pin) for pin in record.get("pins", ())],
            outputs=[] if not portrait else [_output(record, portrait)],
            producer=PRODUCER,
        )

    def _run(self, cycle_id: str, view: str, error: str | None = None) -> Run:
        from openlineage.client.event_v2 import Run
        from openlineage.client.facet_v2 import RunFacet, error_message_run, processing_engine_run

        facets: dict[str, RunFacet] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=product_version(), name="deltakeep", producer=PRODUCER
            )
        }
        if error is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=masked(error), programmingLanguage="SQL", producer=PRODUCER
            )
        return Run(runId=str(uuid.uuid5(_NAMESPACE, f"{self._project}/{cycle_id}/{view}")), facets=facets)

    def _job(self, view: str, portrait: Json) -> Job:
        from openlineage.client.event_v2 import Job
        from openlineage.client.facet_v2 import JobFacet, job_type_job, sql_job

        facets: dict[str, JobFacet] = {
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH", integration="DELTAKEEP", jobType="VIEW", producer=PRODUCER
            )
        }
        if portrait.get("sql"):
            facets["sql"] = sql_job.SQLJobFacet(query=masked(str(portrait["sql"])), producer=PRODUCER)
        return Job(namespace=self._namespace, name=f"{self._project}.{view}", facets=facets)


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of a table, by OpenLineage's naming of file systems and stores.

    >>> dataset_name("file:///data/lake/orders"), dataset_name("s3://bucket/lake/orders")
    (('file', '/data/lake/orders'), ('s3://bucket', 'lake/orders'))
    """
    path = local_path(uri)
    if path is not None:
        return "file", str(path)
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.partition("/")
    return f"{scheme}://{bucket}", name or "/"


def _version(version: int) -> DatasetFacet:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(version), producer=PRODUCER)


def _input(pin: Json) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset

    namespace, name = dataset_name(str(pin["uri"]))
    return InputDataset(namespace=namespace, name=name, facets={"version": _version(int(pin["version"]))})


def _output(record: Json, portrait: Json) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        OutputDatasetFacet,
        output_statistics_output_dataset,
        schema_dataset,
    )

    namespace, name = dataset_name(str(portrait["uri"]))
    facets: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(name=column["name"], type=str(column["type"]))
                for column in portrait["columns"]
            ],
            producer=PRODUCER,
        ),
        "columnLineage": _column_lineage(portrait),
    }
    if record.get("version") is not None:
        facets["version"] = _version(int(record["version"]))
    statistics: dict[str, OutputDatasetFacet] = {}
    if record.get("outcome") == "committed":
        statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=record.get("rows_inserted"), size=record.get("bytes_written"), producer=PRODUCER
        )
    return OutputDataset(namespace=namespace, name=name, facets=facets, outputFacets=statistics)


def _column_lineage(portrait: Json) -> DatasetFacet:
    from openlineage.client.facet_v2 import column_lineage_dataset as facet

    lineage, uris = portrait["lineage"], portrait["inputs"]

    def used(source: Json, kind: str, subtype: str) -> facet.InputField:
        namespace, name = dataset_name(str(uris[source["relation"]]))
        transformation = facet.Transformation(type=kind, subtype=subtype, description="", masking=False)
        return facet.InputField(
            namespace=namespace, name=name, field=str(source["column"]), transformations=[transformation]
        )

    fields = {
        output["name"]: facet.Fields(
            inputFields=[used(source, "DIRECT", _DIRECT[source["how"]]) for source in output.get("sources", ())]
        )
        for output in lineage.get("outputs", ())
    }
    everywhere = [
        used(source, "INDIRECT", subtype) for how, subtype in _INDIRECT.items() for source in lineage.get(how, ())
    ]
    return facet.ColumnLineageDatasetFacet(fields=fields, dataset=everywhere, producer=PRODUCER)
