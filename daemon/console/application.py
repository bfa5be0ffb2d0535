"""The console as a web application: its files, the operations by their roles, events, and what pages ask for.

Everything but the files needs a caller, which `daemon.console.gate` finds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Scope

from daemon.caller import Caller
from daemon.clock import Clock
from daemon.console import relations
from daemon.console.answers import Answers
from daemon.console.files import page_files
from daemon.console.gate import Gate, caller_of, still_stands
from daemon.console.neighbourhood import neighbourhood
from daemon.console.relations import Wanted
from daemon.console.settings import ConsoleSettings
from daemon.exchange import answer_operation, failure_response, operations_listed, read_parameters
from daemon.failure import failure_of
from daemon.openapi import api_description
from daemon.operations import UsageError, find_operation
from daemon.port import JsonValue
from registry.errors import DeltakeepError, RetryLater

if TYPE_CHECKING:
    from daemon.control import ControlTarget

BODY_MAX_BYTES: Final = 64_000
OPENED_MAX: Final = 40
TEXT_MAX: Final = 200
STATUS_FRESH_MS: Final = 3_000
EVENTS_SHOWN: Final = 100
IDLE_S: Final = 15.0

Handler = Callable[[Request], Awaitable[JsonValue]]


def console_application(target: ControlTarget, settings: ConsoleSettings, clock: Clock) -> Starlette:
    """Everything under `/console/` and `/v1` on TCP."""
    pages = _Pages(target, Answers(target, clock))
    files = page_files()

    async def start(_request: Request) -> Response:
        return RedirectResponse("console/", status_code=307)

    async def file(request: Request) -> Response:
        found = files.get(request.path_params.get("name", ""))
        if found is None:
            return Response("there is no such page\n", 404, media_type="text/plain")
        headers = {"etag": found.tag}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.media_type, headers=headers)

    async def operations(_request: Request) -> Response:
        return JSONResponse(operations_listed())

    async def identity(_request: Request) -> Response:
        return JSONResponse(target.identity())

    async def described(_request: Request) -> Response:
        return JSONResponse(api_description())

    async def operate(request: Request) -> Response:
        return await answer_operation(target, request, caller_of(request.scope), body_max_bytes=BODY_MAX_BYTES)

    async def events(request: Request) -> Response:
        if target.events.full:
            error = RetryLater("busy", "too many watch the events already", hint="repeat in a moment")
            return failure_response(failure_of(error))
        after = _number(request.headers.get("last-event-id", ""))
        return StreamingResponse(_lines(target, after, request.scope), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", start),
            Route("/console", start),
            Route("/console/", file),
            Route("/console/{name}", file),
            Route("/v1", operations),
            Route("/v1/daemon", identity),
            Route("/v1/openapi.json", described),
            Route("/v1/events", events),
            Route("/v1/console/caller", _answering(pages.caller)),
            Route("/v1/console/overview", _answering(pages.overview)),
            Route("/v1/console/relations", _answering(pages.relations)),
            Route("/v1/console/relation", _answering(pages.relation)),
            Route("/v1/console/graph", _answering(pages.graph)),
            Route("/v1/console/{operation}", _answering(pages.ask), methods=["POST"]),
            Route("/v1/{operation}", operate, methods=["POST"]),
        ],
        middleware=[Middleware(Gate, settings=settings, clock=clock, turned_away=target.turned_away)],
    )


class _Pages:
    """What pages ask for, beside the operations."""

    def __init__(self, target: ControlTarget, answers: Answers) -> None:
        self._target = target
        self._answers = answers

    async def caller(self, request: Request) -> JsonValue:
        """Who asks, and what of."""
        caller = caller_of(request.scope)
        identity = self._target.identity()
        told = {name: identity.get(name) for name in ("version", "state", "project", "pid")}
        return {"name": caller.name, "role": caller.role, "way": caller.way, "daemon": told}

    async def overview(self, request: Request) -> JsonValue:
        """How everything is, in one page."""
        status, rows = await self._rows(caller_of(request.scope))
        live = {name: value for name, value in self._target.live().items() if name != "views"}
        return {
            **relations.overview(rows),
            "daemon": {**live, "pending": live.get("pending", [])[:EVENTS_SHOWN]},
            "project": status.get("project"),
            "notices": status.get("notices", [])[:EVENTS_SHOWN],
            "events": [one.to_json() for one in self._target.events.kept()][-EVENTS_SHOWN:],
        }

    async def relations(self, request: Request) -> JsonValue:
        """A page of the list."""
        given = request.query_params
        wanted = Wanted(
            **{name: given.get(name, "")[:TEXT_MAX] for name in ("text", "kind", "state", "reads", "feeds", "sort")},
            offset=_number(given.get("offset", "0")),
            limit=_number(given.get("limit", "50")),
        )
        _, rows = await self._rows(caller_of(request.scope))
        return relations.page(rows, self._target.topology, wanted)

    async def relation(self, request: Request) -> JsonValue:
        """All that is known at once of one relation."""
        caller, name = caller_of(request.scope), self._named(request)
        status, rows = await self._rows(caller)
        row = next(row for row in rows if row["name"] == name)
        topology = self._target.topology
        listed = "views" if row["kind"] == "view" else "datasets"
        seen = next((one for one in status.get(listed, ()) if one.get("name") == name), None)
        declared = None
        if row["kind"] == "view":
            views = await self._answers.ask(caller, "views", {}, fresh_ms=STATUS_FRESH_MS)
            declared = next((one for one in views.value if one.get("name") == name), None)
        readers = relations.direct_readers(topology).get(name, ())
        return {
            "row": row,
            "status": seen,
            "declared": declared,
            "readers": list(readers)[:TEXT_MAX],
            "effective_lag_ms": topology.effective_lag_ms.get(name),
            "datasets": sorted(topology.datasets_of.get(name, ())),
        }

    async def graph(self, request: Request) -> JsonValue:
        """A part of the graph with the states of what is in it."""
        name = self._named(request)
        opened = request.query_params.getlist("open")[:OPENED_MAX]
        found = neighbourhood(self._target.topology, name, opened)
        _, rows = await self._rows(caller_of(request.scope))
        states = {row["name"]: row["state"] for row in rows}
        return {**found, "nodes": [{**node, "state": states.get(node["name"])} for node in found["nodes"]]}

    async def ask(self, request: Request) -> JsonValue:
        """An operation that only looks, with patience."""
        name = request.path_params["operation"]
        if find_operation(name).writes:
            raise UsageError("usage", f'"{name}" changes something; ask for it at /v1/{name}')
        parameters = await read_parameters(request, BODY_MAX_BYTES)
        find_operation(name).check(parameters)
        return (await self._answers.ask(caller_of(request.scope), name, parameters)).to_json()

    async def _rows(self, caller: Caller) -> tuple[Mapping[str, JsonValue], list[dict[str, JsonValue]]]:
        """The answer of `status` and a row for each relation, both a moment old at most."""
        status = (await self._answers.ask(caller, "status", {}, fresh_ms=STATUS_FRESH_MS)).value
        return status, relations.rows(self._target.topology, status, self._target.live())

    def _named(self, request: Request) -> str:
        name = request.query_params.get("name", "")
        topology = self._target.topology
        if name not in topology.views and name not in topology.datasets:
            shown = name[:TEXT_MAX]
            raise DeltakeepError("not_found", f'there is no view or dataset "{shown}"', hint="the list has all names")
        return name


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The handler with its value, or its error, as an answer."""

    async def answering(request: Request) -> Response:
        try:
            return JSONResponse(await handler(request))
        except Exception as error:  # noqa: BLE001 - every error is an answer
            return failure_response(failure_of(error))

    return answering


async def _lines(target: ControlTarget, after: int, scope: Scope) -> AsyncIterator[bytes]:
    """Events as a browser's event stream; a comment from time to time keeps the connection open."""
    async for batch in target.events.watch(after, IDLE_S):
        if not still_stands(scope):
            return
        if not batch:
            yield b": still here\n\n"
        for one in batch:
            data = json.dumps(one.to_json(), ensure_ascii=False)
            yield f"id: {one.number}\ndata: {data}\n\n".encode()


def _number(text: str) -> int:
    """A number of at most nine digits that is not negative, else 0."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
