"""Asking the TCP side as any client may: with whatever headers a test wants."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from daemon.caller import Role
from daemon.tokens import TokenFile
from tests.daemon.running import PATIENCE_S, Running

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


async def ask(
    one: Running,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answered:
    """GET, or POST of JSON where a body is given; bytes are sent as they are."""
    assert one.service.public_address is not None
    host, port = one.service.public_address
    given = {**(JSON if body is not None else {}), **(headers or {})}
    if token is not None:
        given["authorization"] = f"Bearer {token}"

    def send() -> Answered:
        connection = (
            http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
            if tls is None
            else http.client.HTTPSConnection(host, port, timeout=PATIENCE_S, context=tls)
        )
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method or ("GET" if body is None else "POST"), path, content, given)
            response = connection.getresponse()
            return Answered(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read().decode(),
            )
        finally:
            connection.close()

    return await asyncio.to_thread(send)


def make_token(one: Running, name: str, role: Role) -> str:
    """A token of the running project."""
    return TokenFile(one.socket.parent / "tokens.json").create(name, role, now_ms=1, by="test")
