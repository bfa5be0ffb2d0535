"""Somebody to send to: an HTTP server on loopback that keeps what it gets and answers as a test says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 20


@dataclass(frozen=True, slots=True)
class Received:
    """A request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and what to answer: the next of `answers`, then 200."""

    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    hold: threading.Event | None = None
    url: str = ""
    _came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> int:
        if self.hold is not None:
            self.hold.wait(PATIENCE_S)
        with self._came:
            self.received.append(request)
            self._came.notify_all()
            return self.answers.pop(0) if self.answers else 200

    def until(self, count: int) -> list[Received]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.received) >= count, PATIENCE_S), self.received
            return list(self.received)


def titled(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers under one spelling of their names."""
    return {name.title(): value for name, value in headers}


@contextmanager
def receiver(*answers: int) -> Iterator[Receiver]:
    made = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            code = made.take(Received(self.path, titled(self.headers.items()), self.rfile.read(length)))
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - named by the standard library

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield made
    finally:
        if made.hold is not None:
            made.hold.set()
        server.shutdown()
        serving.join()
        server.server_close()
