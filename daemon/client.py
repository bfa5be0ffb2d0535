"""Asking the daemon: HTTP over its Unix socket, with the standard library only.

Operations answer with lines of JSON: any number of `{"event": …}`, then one `{"result": …}` or `{"error": …}`.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.failure import Failed, Failure, failure_from_json
from daemon.place import connect
from registry.errors import EXIT_FAILED, EXIT_NOT_ALLOWED, EXIT_NOT_REACHABLE

JsonValue = Any
EventHandler = Callable[[Mapping[str, Any]], None]
STREAM_TYPE = "application/x-ndjson"
CONNECT_TIMEOUT_S = 2.0
ALIVE_TIMEOUT_S = 10.0
"""How long a daemon may take to say that it is there, before an operation that may take as long as it likes."""


class NoDaemon(Exception):
    """Nothing listens on the socket."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect quickly or not at all; then wait as long as the operation takes."""
        self.sock: socket.socket = connect(self._path, CONNECT_TIMEOUT_S)
        self.sock.settimeout(self._timeout_s)


class DaemonClient:
    """The daemon behind one socket."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """`timeout_s` bounds each wait for bytes; None waits as long as the operation takes, if the daemon lives."""
        self._path = path
        self._timeout_s = timeout_s

    def get(self, path: str) -> tuple[int, str]:
        """Look at a page such as `/-/healthy`: its status and text; raises `NoDaemon` when nothing listens."""
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemon from error
        except PermissionError as error:
            raise Failed(_not_ours(self._path)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Failed(_lost(path, error)) from error
        finally:
            connection.close()

    def call(self, operation: str, parameters: Mapping[str, JsonValue], on_event: EventHandler | None) -> JsonValue:
        """Run an operation; raises `NoDaemon` when nothing listens, `Failed` with the daemon's error otherwise."""
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            try:
                connection.connect()
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
                raise NoDaemon from error
            except PermissionError as error:
                raise Failed(_not_ours(self._path)) from error
            if self._timeout_s is None:
                _require_alive(connection)
            body = json.dumps(dict(parameters)).encode()
            headers = {"Content-Type": "application/json", "Accept": STREAM_TYPE}
            connection.request("POST", f"/v1/{operation}", body, headers)
            return _read_answer(connection.getresponse(), on_event)
        except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
            raise Failed(_lost(operation, error)) from error
        finally:
            connection.close()


def _not_ours(path: Path) -> Failure:
    return Failure(
        "not_allowed",
        f'the daemon\'s socket "{path}" may only be used by its owner and its group',
        hint="run the command as the user that the daemon runs as, or join the socket's group",
        exit_code=EXIT_NOT_ALLOWED,
    )


def _lost(what: str, error: Exception) -> Failure:
    return Failure(
        "daemon_lost",
        f"the daemon stopped answering during {what!r}: {str(error) or type(error).__name__}",
        hint="look at its log; `--offline` asks without it, `support-bundle` keeps what shows the reason",
        exit_code=EXIT_NOT_REACHABLE,
    )


def _require_alive(connection: _UnixConnection) -> None:
    """Tell a daemon that works from one that is stuck: its event loop answers at once, whatever is being refreshed."""
    connection.sock.settimeout(ALIVE_TIMEOUT_S)
    connection.request("GET", "/v1/daemon")
    connection.getresponse().read()
    if connection.sock is not None:
        connection.sock.settimeout(None)


def _read_answer(response: http.client.HTTPResponse, on_event: EventHandler | None) -> JsonValue:
    while line := response.readline():
        message = json.loads(line)
        if "event" in message:
            if on_event is not None:
                on_event(message["event"])
        elif "error" in message:
            raise Failed(failure_from_json(message["error"]))
        elif "result" in message:
            return message["result"]
    raise Failed(
        Failure(
            "daemon_lost",
            f"the daemon ended its answer early (HTTP status {response.status})",
            hint="look at its log; repeating the command is safe",
            exit_code=EXIT_FAILED,
        )
    )
