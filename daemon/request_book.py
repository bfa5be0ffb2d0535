"""Who asked for which change, and what came of it: the log line, the event, and the row of `deltakeep.requests`.

Invariant: a request that was begun to change something has its row, whether it succeeded or not; a row that cannot be
written now waits for the next write and holds up nobody.  Who gave no token changes nothing and fills no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from daemon.caller import Caller
from daemon.clock import Clock
from daemon.event_stream import EventStream
from daemon.failure import Failure, failure_of
from daemon.log import logger
from daemon.operations import Operation, request_made
from daemon.port import JsonValue, RequestMade


class RequestBook:
    """Lets requests through that the caller may make, and keeps those that change something."""

    def __init__(self, clock: Clock, events: EventStream, record: Callable[[RequestMade], Awaitable[None]]) -> None:
        """`record` writes the row."""
        self._clock = clock
        self._events = events
        self._record = record
        self._log = logger("requests")
        self._writing: set[asyncio.Task[None]] = set()

    async def enter(
        self,
        caller: Caller,
        operation: Operation,
        given: Mapping[str, JsonValue],
        run: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Run a request if the caller may; raises `NotAllowed` where the role is too small."""
        started_ms, value = self._clock.monotonic_ms(), None
        failure: Failure | None = None
        try:
            operation.allow(caller, given)
            value = await run()
        except Exception as error:
            failure = failure_of(error)
            raise
        finally:
            now_ms, elapsed_ms = self._clock.now_ms(), self._clock.monotonic_ms() - started_ms
            made = (
                None
                if _turned_away(caller, failure)
                else request_made(caller, operation, given, value, failure, now_ms=now_ms, elapsed_ms=elapsed_ms)
            )
            if made is not None:
                self._note(made)
        return value

    def turned_away(self, caller: Caller, operation: str, failure: Failure) -> None:
        """Keep that somebody whom we know was not let in, whatever was asked for."""
        self._note(
            RequestMade(
                recorded_ms=self._clock.now_ms(),
                who=caller.name,
                way=caller.way,
                operation=operation,
                parameters={},
                reason="",
                result=failure.code,
                message=failure.message,
                elapsed_ms=0,
            )
        )

    def _note(self, made: RequestMade) -> None:
        self._tell(made)
        task = asyncio.create_task(self._keep(made), name="record-request")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def _tell(self, made: RequestMade) -> None:
        what = {"who": made.who, "operation": made.operation, "result": made.result, "reason": made.reason}
        self._log.info("change asked for", way=made.way, parameters=made.parameters, **what)
        views = [made.parameters["view"]] if "view" in made.parameters else made.parameters.get("views", ())
        self._events.publish({"kind": "requested", "view": views[0] if len(views) == 1 else None, **what})

    async def _keep(self, made: RequestMade) -> None:
        try:
            await self._record(made)
        except Exception as error:  # noqa: BLE001 - the change is done; its row waits for the next write
            self._log.warning("request not recorded yet", who=made.who, operation=made.operation, error=str(error))


def _turned_away(caller: Caller, failure: Failure | None) -> bool:
    """Whether it was not begun: nobody in particular was refused, or the daemon starts or stops."""
    return failure is not None and (caller.way == "loopback" or failure.code in {"starting", "draining"})
