"""One request to an operation over HTTP, the same on the control socket and on TCP.

`POST /v1/OPERATION` with a JSON object of parameters is answered with one value, or with lines of JSON where the caller
accepts them: any number of `{"event": …}`, then one `{"result": …}` or `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from daemon.caller import Caller
from daemon.client import STREAM_TYPE
from daemon.failure import Failure, failure_of
from daemon.operations import OPERATIONS, UsageError
from daemon.port import JsonValue
from registry.errors import EXIT_CONFLICT, EXIT_NOT_ALLOWED, EXIT_NOT_FOUND, EXIT_USAGE, DeltakeepError

if TYPE_CHECKING:
    from daemon.control import ControlTarget

EVENTS_WAITING_MAX = 10_000

_OURS = frozenset({"internal", "engine_panic", "not_installed", "out_of_memory", "os_error"})
"""Errors that are no answer to what was asked."""
_HTTP_STATUS = {EXIT_USAGE: 400, EXIT_NOT_ALLOWED: 403, EXIT_NOT_FOUND: 404, EXIT_CONFLICT: 409, 75: 503, 78: 422}


def operations_listed() -> list[dict[str, JsonValue]]:
    """The operations for clients."""
    return [
        {
            "name": one.name,
            "summary": one.summary,
            "writes": one.writes,
            "role": one.role,
            "parameters": [parameter.name for parameter in one.parameters],
        }
        for one in OPERATIONS.values()
    ]


async def answer_operation(target: ControlTarget, request: Request, caller: Caller, *, body_max_bytes: int) -> Response:
    """Run the operation that the path names and answer as the caller accepts it."""
    name = request.path_params["operation"]
    try:
        parameters = await read_parameters(request, body_max_bytes)
    except DeltakeepError as error:
        return failure_response(failure_of(error))
    if STREAM_TYPE in request.headers.get("accept", ""):
        return StreamingResponse(_stream(target, name, parameters, caller), media_type=STREAM_TYPE)
    try:
        return JSONResponse(await target.perform(name, parameters, ignore, caller))
    except Exception as error:  # noqa: BLE001 - every error is an answer
        return failure_response(failure_of(error))


async def read_parameters(request: Request, body_max_bytes: int) -> Mapping[str, JsonValue]:
    """The JSON object of a request; raises `UsageError` for anything else."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > body_max_bytes:
            raise UsageError("too_large", f"a request has at most {body_max_bytes} bytes")
    try:
        value = json.loads(bytes(body) or b"{}")
    except RecursionError:
        raise UsageError("usage", "the request is nested too deeply") from None
    except ValueError as error:
        raise UsageError("usage", f"the request is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("usage", "the request has to be a JSON object of parameters")
    return value


def failure_response(failure: Failure) -> Response:
    """An error with the HTTP status that fits it."""
    return JSONResponse({"error": failure.to_json()}, status_code=_status_of(failure))


def _status_of(failure: Failure) -> int:
    if failure.code in _OURS:
        return 500
    return 413 if failure.code == "too_large" else _HTTP_STATUS.get(failure.exit_code, 422)


def ignore(_event: Mapping[str, JsonValue]) -> None:
    """Nobody follows the progress of a plain request."""


async def _stream(
    target: ControlTarget, name: str, parameters: Mapping[str, JsonValue], caller: Caller
) -> AsyncIterator[bytes]:
    """Lines of JSON: events as they come, then the result or the error.

    A client that goes away does not stop the operation; its events are dropped.
    """
    events: asyncio.Queue[Mapping[str, JsonValue] | None] = asyncio.Queue(EVENTS_WAITING_MAX)

    def observe(event: Mapping[str, JsonValue]) -> None:
        # A reader that does not keep up misses events, never the result.
        with contextlib.suppress(asyncio.QueueFull):
            events.put_nowait(event)

    async def perform() -> JsonValue:
        try:
            return await target.perform(name, parameters, observe, caller)
        finally:
            await events.put(None)

    task = asyncio.create_task(perform(), name=f"operation-{name}")
    try:
        while (event := await events.get()) is not None:
            yield _json_line({"event": event})
        yield _json_line({"result": await task})
    except Exception as error:  # noqa: BLE001 - every error is an answer
        yield _json_line({"error": failure_of(error).to_json()})
    finally:
        if not task.done():
            task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _json_line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
