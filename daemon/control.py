"""The two faces of the service: control on a Unix socket; figures, health and the console on TCP.

Invariant: the control socket is ours alone (mode 0600 from its first moment); on the TCP side nothing is changed
without a token that allows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.caller import Caller
from daemon.certificate import Certificate
from daemon.clock import Clock
from daemon.console.settings import ConsoleSettings
from daemon.event_stream import EventStream
from daemon.exchange import answer_operation, operations_listed
from daemon.metrics import CONTENT_TYPE
from daemon.openapi import api_description
from daemon.place import connect, reachable_address
from daemon.port import JsonValue, Observer
from daemon.topology import Topology
from daemon.unix_user import caller_of_peer
from registry.errors import EXIT_CONFIGURATION, DeltakeepError

if TYPE_CHECKING:
    from asyncio import Transport

BODY_MAX_BYTES = 4_000_000
CONNECTIONS_MAX = 256
"""On the control socket more than these are told to come again; of those on TCP the oldest idle one is closed."""
OPENED_GATE = "project loaded"
"""The gate that a start has to pass; what comes after it is the work itself."""


class ControlTarget(Protocol):
    """What the two servers ask of the service."""

    @property
    def events(self) -> EventStream:
        """What happens, for whoever watches."""
        ...

    @property
    def topology(self) -> Topology:
        """Views, datasets and edges of the definitions in use."""
        ...

    async def perform(
        self, operation: str, parameters: Mapping[str, JsonValue], observer: Observer, caller: Caller
    ) -> JsonValue:
        """Run an operation if the caller may; `observer` is called in the event loop's thread."""
        ...

    def turned_away(self, caller: Caller, operation: str, error: DeltakeepError) -> None:
        """Keep that a caller was not let in."""
        ...

    def live(self) -> Mapping[str, JsonValue]:
        """What status tells of the daemon itself: its identity, and the state of each view; from memory alone."""
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
        return JSONResponse(operations_listed())

    async def identity(_request: Request) -> Response:
        return JSONResponse(dict(target.identity()))

    async def described(_request: Request) -> Response:
        return JSONResponse(api_description())

    async def operate(request: Request) -> Response:
        return await answer_operation(target, request, _caller(request), body_max_bytes=BODY_MAX_BYTES)

    async def stop(_request: Request) -> Response:
        target.request_stop()
        return JSONResponse({"state": "draining"}, status_code=202)

    return Starlette(
        routes=[
            Route("/v1", operations),
            Route("/v1/daemon", identity),
            Route("/v1/openapi.json", described),
            Route("/v1/{operation}", operate, methods=["POST"]),
            Route("/-/quit", stop, methods=["POST"]),
            *_health_routes(target),
        ]
    )


def public_application(target: ControlTarget, console: ConsoleSettings | None, clock: Clock) -> Starlette:
    """What TCP sees: `/metrics`, the health of the service, and the console, which looks after its own access."""

    async def metrics(_request: Request) -> Response:
        return Response(await target.exposition(), media_type=CONTENT_TYPE)

    routes: list[BaseRoute] = [Route("/metrics", metrics), *_health_routes(target)]
    if console is not None:
        from daemon.console.application import console_application

        routes.append(Mount("/", console_application(target, console, clock)))
    return Starlette(routes=routes)


def _caller(request: Request) -> Caller:
    """Who is at the other end of the control socket; its mode guards it, so who came in may administer."""
    assert request.client is not None
    return Caller(request.client.host, "admin", "socket")


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


class _ControlProtocol(H11Protocol):
    """HTTP on the control socket: who is at the other end is asked of the kernel, once a connection."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client = (caller_of_peer(transport.get_extra_info("socket")).name, 0)


class _PublicProtocol(H11Protocol):
    """HTTP on TCP: whoever opens many connections and asks nothing cannot keep figures and health from others.

    The console's gate bounds what is asked, so that beyond the bound there is a connection that waits for nothing.
    """

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.made_s = self.loop.time()
        if len(self.connections) > CONNECTIONS_MAX:
            others = (one for one in self.connections if isinstance(one, _PublicProtocol) and one is not self)
            idle = [one for one in others if one.cycle is None or one.cycle.response_complete]
            if idle:
                min(idle, key=lambda one: one.made_s).transport.close()


class HttpServer:
    """One application on one bound socket."""

    def __init__(self, application: Starlette, listener: socket.socket, certificate: Certificate | None = None) -> None:
        """With a certificate it speaks TLS only."""
        self._listener = listener
        control = listener.family == socket.AF_UNIX
        config = uvicorn.Config(
            application,
            http=_ControlProtocol if control else _PublicProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX if control else None,
            timeout_graceful_shutdown=2,
        )
        config.load()
        if certificate is not None:
            config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.serve(config.ssl)
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._listener])

    async def stop(self, serving: Awaitable[None], patience_s: float = 3.0) -> None:
        """Answer what is open, briefly, then close."""
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(serving), patience_s)
