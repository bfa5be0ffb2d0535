"""OpenLineage events of real refreshes, checked against the published schemas, on each transport."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openlineage.client.serde import Serde
from referencing import Registry, Resource

from daemon.clock import SystemClock
from daemon.integrations.happenings import Happening
from daemon.integrations.lineage import Lineage, RunEvents, dataset_name
from daemon.integrations.outlets import Outlets
from daemon.live_keeper import LiveKeeper, open_keeper
from registry.integrations import LineageSettings
from tests.daemon.receiver import receiver
from tests.staged_faults import CITIES, MORE, Site, make_site

SCHEMAS = Path(__file__).parent / "openlineage"
Event = dict[str, Any]


class Validators:
    """The published schemas by their ids: an event and each of its facets names the one that it follows."""

    def __init__(self) -> None:
        found = {}
        for file in SCHEMAS.glob("*.json"):
            schema = json.loads(file.read_text())
            found[schema["$id"]] = Resource.from_contents(schema)
        self._registry = Registry().with_resources(found.items())

    def check(self, value: Any, url: str) -> None:
        Draft202012Validator({"$ref": url}, registry=self._registry).validate(value)

    def check_event(self, event: Event) -> set[str]:
        """Validate an event with all of its facets; the names of the facets."""
        self.check(event, event["schemaURL"])
        holders = [event["run"]["facets"], event["job"]["facets"]]
        for dataset in (*event["inputs"], *event["outputs"]):
            holders += [
                dataset.get("facets") or {},
                dataset.get("inputFacets") or {},
                dataset.get("outputFacets") or {},
            ]
        names = set()
        for facets in holders:
            for name, facet in facets.items():
                self.check(facet, facet["_schemaURL"])
                names.add(name)
        return names


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "shop")


@pytest.fixture
def keeper(site: Site) -> Iterator[LiveKeeper]:
    opened = open_keeper(site.root, SystemClock())
    yield opened
    opened.close()


class Kept:
    """A transport that keeps the events, as they would be sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Any) -> None:
        self.events.append(json.loads(Serde.to_json(event)))


def cycle(keeper: LiveKeeper, *outlets: Any) -> None:
    clock = SystemClock()
    told = Outlets(clock, outlets, portraits=True)
    began_ms = clock.now_ms()
    outcome = keeper.run_cycle(None, cause="test", force=None, observer=told.watching(lambda _event: None))
    told.cycle_ended(keeper, outcome, began_ms)
    told.close()


def events_of(keeper: LiveKeeper) -> list[Event]:
    kept = Kept()
    results: list[str] = []
    cycle(keeper, Lineage(LineageSettings("file", "shops"), "shop", results.append, kept))  # type: ignore[arg-type]
    assert results == ["ok"] * len(kept.events)
    return kept.events


def test_each_refresh_is_a_run_with_a_start_and_an_end_that_follow_the_schemas(site: Site, keeper: LiveKeeper) -> None:
    site.orders.append(MORE)
    events = events_of(keeper)
    assert [(event["eventType"], event["job"]["name"]) for event in events] == [
        ("START", "shop.cities"),
        ("START", "shop.large"),
        ("START", "shop.top"),
        ("COMPLETE", "shop.cities"),
        ("COMPLETE", "shop.large"),
        ("COMPLETE", "shop.top"),
    ]
    validators = Validators()
    facets = set().union(*(validators.check_event(event) for event in events))
    assert facets == {
        "processing_engine",
        "jobType",
        "sql",
        "version",
        "schema",
        "columnLineage",
        "outputStatistics",
    }
    runs = {event["job"]["name"]: set() for event in events}  # type: ignore[var-annotated]
    for event in events:
        runs[event["job"]["name"]].add(event["run"]["runId"])
    assert all(len(ids) == 1 for ids in runs.values()), "both events of a refresh are of one run"
    assert len(set().union(*runs.values())) == 3


def test_the_end_names_versions_schema_columns_and_counts(site: Site, keeper: LiveKeeper) -> None:
    site.orders.append(MORE)
    (end,) = [
        one for one in events_of(keeper) if one["eventType"] == "COMPLETE" and one["job"]["name"] == "shop.cities"
    ]
    orders, cities = str(site.orders.path), str(site.workspace.target("cities"))
    (read,), (made,) = end["inputs"], end["outputs"]
    assert (read["namespace"], read["name"], read["facets"]["version"]["datasetVersion"]) == ("file", orders, "1")
    assert (made["namespace"], made["name"], made["facets"]["version"]["datasetVersion"]) == ("file", cities, "1")
    assert [(one["name"], one["type"]) for one in made["facets"]["schema"]["fields"]] == [
        ("city", "string"),
        ("amount", "long"),
        ("orders", "long"),
    ]
    lineage = made["facets"]["columnLineage"]
    assert {
        column: [(one["name"], one["field"], one["transformations"][0]["subtype"]) for one in found["inputFields"]]
        for column, found in lineage["fields"].items()
    } == {
        "city": [(orders, "city", "IDENTITY")],
        "amount": [(orders, "amount", "AGGREGATION")],
        "orders": [],
    }
    assert [
        (one["field"], one["transformations"][0]["type"], one["transformations"][0]["subtype"])
        for one in lineage["dataset"]
    ] == [("city", "INDIRECT", "GROUP_BY")]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert made["outputFacets"]["outputStatistics"]["size"] > 0


def test_a_refresh_that_fails_tells_its_error_and_views_that_are_left_alone_tell_nothing(
    site: Site, keeper: LiveKeeper
) -> None:
    assert events_of(keeper) == []
    site.workspace.view("cities", CITIES.replace("sum(amount)", "sum(CAST(city AS INT))"))
    keeper.reload()
    events = events_of(keeper)
    assert [(event["eventType"], event["job"]["name"]) for event in events] == [
        ("START", "shop.cities"),
        ("FAIL", "shop.cities"),
    ]
    assert "errorMessage" in Validators().check_event(events[-1])
    assert "Cannot cast string 'Rome'" in events[-1]["run"]["facets"]["errorMessage"]["message"]


def test_an_event_that_breaks_a_schema_is_found() -> None:
    event = json.loads(Serde.to_json(RunEvents("shops", "shop").start("c1", "cities", 0)))
    Validators().check_event(event)
    with pytest.raises(Exception, match="is not of type"):
        Validators().check_event({**event, "job": {**event["job"], "name": 5}})
    with pytest.raises(Exception, match="required property"):
        Validators().check_event({name: one for name, one in event.items() if name != "eventTime"})


def test_the_run_of_a_refresh_is_the_same_for_whoever_tells_it() -> None:
    events = RunEvents("shops", "shop")
    ids = {events.start(cycle_id, "cities", 0).run.runId for cycle_id in ("c1", "c1", "c2")}
    assert len(ids) == 2
    assert all(uuid.UUID(one) for one in ids)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///data/a%20b/t", ("file", "/data/a b/t")),
        ("s3://bucket/lake/t", ("s3://bucket", "lake/t")),
        ("abfss://c@a.dfs.core.windows.net/t", ("abfss://c@a.dfs.core.windows.net", "t")),
    ],
)
def test_tables_are_named_as_openlineage_names_them(uri: str, expected: tuple[str, str]) -> None:
    assert dataset_name(uri) == expected


def sent(keeper: LiveKeeper, settings: LineageSettings) -> list[str]:
    results: list[str] = []
    outlet: Any = Lineage(settings, "shop", results.append)
    cycle(keeper, outlet)
    return results


def test_events_go_to_a_file_or_to_a_service(site: Site, keeper: LiveKeeper, tmp_path: Path) -> None:
    site.orders.append(MORE)
    file = tmp_path / "new" / "lineage.jsonl"
    assert sent(keeper, LineageSettings("file", "shops", file=file)) == ["ok"] * 6
    assert [json.loads(line)["eventType"] for line in file.read_text().splitlines()] == ["START"] * 3 + ["COMPLETE"] * 3
    site.orders.append([{"id": 9, "city": "Bern", "amount": 1}])
    with receiver(503) as one:
        results = sent(keeper, LineageSettings("http", "shops", url=one.url, api_key="a key of lineage"))
        assert set(results) == {"ok"}
        assert len(one.received) == len(results) + 1, "the one that was refused was tried again"
        assert {request.path for request in one.received} == {"/api/v1/lineage"}
        assert {request.headers["Authorization"] for request in one.received} == {"Bearer a key of lineage"}


def test_a_service_that_refuses_is_counted_and_not_asked_again(site: Site, keeper: LiveKeeper) -> None:
    site.orders.append(MORE)
    with receiver(*[403] * 6) as one:
        assert sent(keeper, LineageSettings("http", "shops", url=one.url)) == ["failed"] * 6
        assert len(one.received) == 6


def test_take_ignores_what_is_no_refresh() -> None:
    from daemon.integrations.happenings import Reloaded, StatesSeen

    kept, results = Kept(), list[str]()
    lineage = Lineage(LineageSettings("file", "shops"), "shop", results.append, kept)  # type: ignore[arg-type]
    happenings: list[Happening] = [Reloaded(1), StatesSeen(2, {"cities": "late"})]
    for happening in happenings:
        lineage.take(happening)
    lineage.close()
    assert not kept.events
