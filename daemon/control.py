"""The two faces of the service: control on a Unix socket, figures and health on TCP.

Invariant: the control socket is ours alone (mode 0600 from its first moment); the TCP side can change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from daemon.client import STREAM_TYPE
from daemon.failure import Failure, failure_of
from daemon.metrics import CONTENT_TYPE
from daemon.operations import OPERATIONS, UsageError
from daemon.place import connect, reachable_address
from daemon.port import JsonValue, Observer
from registry.errors import (
    EXIT_CONFIGURATION,
    EXIT_CONFLICT,
    EXIT_NOT_ALLOWED,
    EXIT_NOT_FOUND,
    EXIT_USAGE,
    DeltakeepError,
)

BODY_MAX_BYTES = 4_000_000
EVENTS_WAITING_MAX = 10_000
OPENED_GATE = "project loaded"
"""The gate that a start has to pass; what comes after it is the work itself."""
_HTTP_STATUS = {EXIT_USAGE: 400, EXIT_NOT_ALLOWED: 403, EXIT_NOT_FOUND: 404, EXIT_CONFLICT: 409, 75: 503, 78: 422}


class ControlTarget(Protocol):
    """What the two servers ask of the service."""

    async def perform(self, operation: str, parameters: Mapping[str, JsonValue], observer: Observer) -> JsonValue:
        """Run an operation; `observer` is called in the event loop's thread."""
        ...

    def identity(self) -> Mapping[str, JsonValue]:
        """Process id, version, state, project."""
        ...

    def ready_gates(self) -> Mapping[str, bool]:
        """What has to be true before the service calls itself ready."""
        ...

    def is_healthy(self) -> bool:
        """Whether the loops turn."""
        ...

    def request_stop(self) -> None:
        """Drain and stop."""
        ...

    async def exposition(self) -> bytes:
        """The metrics as text."""
        ...


class CannotListen(DeltakeepError):
    """An address is taken or may not be used; starting again by itself would not help."""

    exit_code_of_class = EXIT_CONFIGURATION


def control_application(target: ControlTarget) -> Starlette:
    """The control API: `POST /v1/OPERATION` with a JSON object, answered with lines of JSON or with one value."""

    async def operations(_request: Request) -> Response:
        listed = [
            {
                "name": one.name,
                "summary": one.summary,
                "writes": one.writes,
                "parameters": [parameter.name for parameter in one.parameters],
            }
            for one in OPERATIONS.values()
        ]
        return JSONResponse(listed)

    async def identity(_request: Request) -> Response:
        return JSONResponse(dict(target.identity()))

    async def operate(request: Request) -> Response:
        name = request.path_params["operation"]
        streaming = STREAM_TYPE in request.headers.get("accept", "")
        try:
            parameters = await _read_parameters(request)
        except DeltakeepError as error:
            return _failure_response(failure_of(error))
        if streaming:
            return StreamingResponse(_stream(target, name, parameters), media_type=STREAM_TYPE)
        try:
            return JSONResponse(await target.perform(name, parameters, _ignore))
        except Exception as error:  # noqa: BLE001 - every error is an answer
            return _failure_response(failure_of(error))

    async def stop(_request: Request) -> Response:
        target.request_stop()
        return JSONResponse({"state": "draining"}, status_code=202)

    return Starlette(
        routes=[
            Route("/v1", operations),
            Route("/v1/daemon", identity),
            Route("/v1/{operation}", operate, methods=["POST"]),
            Route("/-/quit", stop, methods=["POST"]),
            *_health_routes(target),
        ]
    )


def public_application(target: ControlTarget) -> Starlette:
    """What monitoring sees: `/metrics`, `/-/healthy`, `/-/started`, `/-/ready`; nothing here changes anything."""

    async def metrics(_request: Request) -> Response:
        return Response(await target.exposition(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/metrics", metrics), *_health_routes(target)])


def _health_routes(target: ControlTarget) -> list[Route]:
    async def healthy(_request: Request) -> Response:
        good = target.is_healthy()
        return PlainTextResponse("healthy\n" if good else "the loops do not turn\n", 200 if good else 503)

    async def ready(request: Request) -> Response:
        gates = target.ready_gates()
        good = all(gates.values())
        lines = [f"{'ok ' if passed else 'not'} {gate}" for gate, passed in gates.items()]
        text = "\n".join(lines) if "verbose" in request.query_params else ("ready" if good else "not ready")
        return PlainTextResponse(text + "\n", 200 if good else 503)

    async def started(_request: Request) -> Response:
        opened = target.ready_gates()[OPENED_GATE]
        return PlainTextResponse("started\n" if opened else "opening the project\n", 200 if opened else 503)

    return [Route("/-/healthy", healthy), Route("/-/started", started), Route("/-/ready", ready)]


async def _read_parameters(request: Request) -> Mapping[str, JsonValue]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise UsageError("usage", f"a request has at most {BODY_MAX_BYTES} bytes")
    try:
        value = json.loads(bytes(body) or b"{}")
    except ValueError as error:
        raise UsageError("usage", f"the request is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("usage", "the request has to be a JSON object of parameters")
    return value


def _failure_response(failure: Failure) -> Response:
    return JSONResponse({"error": failure.to_json()}, status_code=_HTTP_STATUS.get(failure.exit_code, 500))


async def _stream(target: ControlTarget, name: str, parameters: Mapping[str, JsonValue]) -> AsyncIterator[bytes]:
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
            return await target.perform(name, parameters, observe)
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


def _ignore(_event: Mapping[str, JsonValue]) -> None:
    """Nobody follows the progress of a plain request."""


def _json_line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def bind_control_socket(path: Path) -> socket.socket:
    """A listening-ready Unix socket with mode 0600; a socket that a dead daemon left behind is replaced.

    The server is given this socket instead of the path because it would open a path of its own to everybody (0666).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connect(path, 1.0).close()
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
    except PermissionError as error:
        raise CannotListen(
            "cannot_listen",
            f'the control socket "{path}" belongs to another user',
            hint="stop that daemon, or give this one another [daemon] socket",
        ) from error
    else:
        raise CannotListen(
            "already_running",
            f'a daemon answers on "{path}" already',
            hint="stop it with TERM, or give this one another [daemon] socket",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # The mode is set before the socket has a name: there is no moment at which others may connect.
    before = os.umask(0o177)
    try:
        with reachable_address(path) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise CannotListen(
            "cannot_listen", f'cannot listen on "{path}": {error}', hint="change [daemon] socket"
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def bind_public_socket(listen: str) -> socket.socket:
    """A bound TCP socket for `host:port`; port 0 takes a free one."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]") or "127.0.0.1", int(port)))
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        raise CannotListen(
            "cannot_listen",
            f'cannot listen on "{listen}": {error}',
            hint='change [daemon] listen in deltakeep.toml, for example to "127.0.0.1:0" for any free port',
        ) from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """A server that leaves signals to the service."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One application on one bound socket."""

    def __init__(self, application: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                application,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )

    async def serve(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._listener])

    async def stop(self, serving: Awaitable[None], patience_s: float = 3.0) -> None:
        """Answer what is open, briefly, then close."""
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(serving), patience_s)
