"""The gate of the console: each request is checked, gets its caller, and its answer the headers that guard a browser.

Invariant: no token, wrong or right, gets into a log, an error or an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.caller import LOOPBACK, Caller
from daemon.clock import Clock
from daemon.console import access
from daemon.console.access import Asked, Refused
from daemon.console.failed_tokens import FailedTokens
from daemon.console.request_limits import RequestLimits
from daemon.console.settings import ConsoleSettings
from daemon.failure import failure_of
from daemon.log import logger
from daemon.operations import OPERATIONS
from daemon.tokens import TokenExpired, TokenFile, TokenFileError
from registry.errors import DeltakeepError

TurnedAway = Callable[[Caller, str, DeltakeepError], None]
PAGES: Final = ("/", "/console")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_GUARDS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """Lets requests through to the console, with their callers for all but its files."""

    def __init__(self, inside: ASGIApp, settings: ConsoleSettings, clock: Clock, turned_away: TurnedAway) -> None:
        """`turned_away` keeps who came with a token whose time is over."""
        self._inside = inside
        self._turned_away = turned_away
        self._settings = settings
        self._clock = clock
        self._tokens = TokenFile(settings.tokens)
        self._failed = FailedTokens()
        self._limits = RequestLimits()
        self._log = logger("console")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and pass on."""
        guarded = self._guarded(send, files=_is_page(scope["path"]))
        asked = self._asked(scope)
        limited = self._limits.enter(asked.address, self._clock.monotonic_ms())
        if limited is not None:
            if limited.first:
                self._log.warning("too many requests", address=asked.address)
            wait_s = -(-limited.wait_ms // 1000)
            message = f"too many requests; wait {wait_s} s"
            refused = Refused("too_many_requests", message, status=429, wait_s=wait_s)
            await self._refuse(refused)(scope, receive, guarded)
            return
        try:
            await self._enter(asked, scope, receive, guarded)
        finally:
            self._limits.leave(asked.address)

    async def _enter(self, asked: Asked, scope: Scope, receive: Receive, guarded: Send) -> None:
        """Find the caller and pass on."""
        try:
            access.check(asked, self._settings)
            if not asked.to_page:
                _check_body(asked)
                caller = self._caller(asked, scope["path"])
                scope.setdefault("state", {}).update(caller=caller, stands=lambda: self._stands(asked, caller))
        except Refused as refused:
            await self._refuse(refused)(scope, receive, guarded)
            return
        except TokenFileError as error:
            self._log.error("tokens cannot be used", error=error.message)
            unusable = Refused(error.code, "tokens cannot be used now", "see the daemon's log", 503)
            await self._refuse(unusable)(scope, receive, guarded)
            return
        await self._inside(scope, receive, guarded)

    def _asked(self, scope: Scope) -> Asked:
        peer = scope["client"][0] if scope.get("client") else ""
        asked = Asked(peer, scope["method"], Headers(scope=scope), _is_page(scope["path"]))
        return access.seen_through_proxy(asked, self._settings)

    def _caller(self, asked: Asked, path: str) -> Caller:
        """Who asks; raises `Refused` where a token is needed or wrong."""
        given = asked.headers.get("authorization")
        if given is None:
            if access.is_free(asked, self._settings):
                return LOOPBACK
            hint = "`daemonctl token create NAME --role read` makes one"
            raise Refused("token_needed", "a token is needed to read from here", hint, 401)
        now_ms = self._clock.monotonic_ms()
        wait_ms = self._failed.wait_ms(asked.address, now_ms)
        if wait_ms > 0:
            message = "too many wrong tokens came from here; wait a minute"
            raise Refused("too_many_tokens", message, status=429, wait_s=60)
        try:
            caller = self._holder(given)
        except TokenExpired as expired:
            # It counts as a wrong one, so that it cannot fill the table of requests either.
            self._failed.failed(asked.address, now_ms)
            self._turned_away(expired.caller, _operation(path), expired)
            raise Refused(expired.code, expired.message, expired.hint, 401) from expired
        if caller is None:
            self._failed.failed(asked.address, now_ms)
            self._log.warning("wrong token", address=asked.address)
            raise Refused("wrong_token", "this is no token of this project", "it may have been revoked", 401)
        return caller

    def _holder(self, authorization: str) -> Caller | None:
        scheme, _, token = authorization.partition(" ")
        return self._tokens.caller(token.strip(), self._clock.now_ms()) if scheme.lower() == "bearer" else None

    def _stands(self, asked: Asked, caller: Caller) -> bool:
        """Whether what was found of a caller still holds: a token may end while its answer goes on."""
        given = asked.headers.get("authorization")
        try:
            return given is None or self._holder(given) == caller
        except (TokenFileError, TokenExpired):
            return False

    def _refuse(self, refused: Refused) -> JSONResponse:
        headers = {}
        if refused.status == 401:
            headers["www-authenticate"] = "Bearer"
        if refused.wait_s:
            headers["retry-after"] = str(refused.wait_s)
        return JSONResponse({"error": failure_of(refused).to_json()}, status_code=refused.status, headers=headers)

    def _guarded(self, send: Send, *, files: bool) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_GUARDS)
                headers["cache-control"] = "no-cache" if files else "no-store"
                if self._settings.encrypts:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        return guarded


def caller_of(scope: Scope) -> Caller:
    """The caller that the gate found."""
    state: dict[str, Any] = scope["state"]
    caller = state["caller"]
    assert isinstance(caller, Caller)
    return caller


def still_stands(scope: Scope) -> bool:
    """Whether the caller that the gate found may still have answers."""
    return bool(scope["state"]["stands"]())


def _operation(path: str) -> str:
    """What was asked for, by a name that is ours."""
    name = path.rpartition("/")[2]
    return name if name in OPERATIONS else "console"


def _is_page(path: str) -> bool:
    return path in PAGES or path.startswith("/console/")


def _check_body(asked: Asked) -> None:
    """A body has to be JSON by its type: a form of another site could not send that."""
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if asked.method == "POST" and kind != "application/json":
        raise Refused("not_json", "a request has to be application/json", status=415)
