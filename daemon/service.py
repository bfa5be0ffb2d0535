"""The service: loops around one keeper, and the state machine that starts and ends them.

The loops only decide *when*; `Keeper.run_cycle` decides what.
Invariants: the keeper is used by one thread; every loop can be cancelled at any await; nothing that is remembered here
is needed after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, assert_never

from daemon import lifecycle
from daemon.activation import PassedSockets
from daemon.answering import Answering, Asked
from daemon.caller import Caller
from daemon.certificate import Certificate, CertificateRefused, certificate_of
from daemon.clock import Clock
from daemon.control import OPENED_GATE, HttpServer, control_application, public_application
from daemon.diagnosis import Diagnosis
from daemon.event_stream import EventStream
from daemon.exposition import Exposition
from daemon.failure import Failure, failure_of
from daemon.heartbeat import PARTS, TURN_S, Heartbeat, Part
from daemon.integrations.outlets import Outlets
from daemon.keeping import Keeping
from daemon.listeners import Listeners, open_listeners
from daemon.log import LogControl, logger
from daemon.metrics import Metrics
from daemon.notify import ServiceNotifier
from daemon.place import settings_at_start
from daemon.polling import Polling
from daemon.port import CycleOutcome, JsonValue, KeeperFactory, KeeperPort, Observer, ReloadOutcome
from daemon.schedule import Wait
from daemon.service_options import Left, ServiceOptions
from daemon.signals import signals_answered
from daemon.topology import Topology
from daemon.watch import existing_folders, watch_definitions, watch_logs
from daemon.worker import Priority, Worker, in_event_loop
from registry.errors import DeltakeepError, RetryLater

TICK_S = 1.0
HOUSEKEEPING_S = 60
DRAIN_LOOK_S = 0.05


class Service:
    """Keeps the views of one project until told to stop."""

    def __init__(
        self,
        options: ServiceOptions,
        *,
        clock: Clock,
        open_keeper: KeeperFactory,
        notifier: ServiceNotifier,
        metrics: Metrics,
        identity: Mapping[str, JsonValue],
        passed: PassedSockets | None = None,
        logs: LogControl | None = None,
        outlets: Outlets | None = None,
    ) -> None:
        """`identity` is what the control socket tells about this process; `passed` are the sockets of systemd."""
        self._options = options
        self._clock = clock
        self._open_keeper = open_keeper
        self._notifier = notifier
        self._metrics = metrics
        self._identity = dict(identity)
        self._passed = passed or PassedSockets()
        self._log = logger("service")
        self._outlets = outlets or Outlets(clock)
        self._diagnosis = Diagnosis(logs or LogControl(), self._state_now, metrics.render)
        self._state: lifecycle.State = lifecycle.Starting()
        self._keeping = Keeping(clock, metrics)
        self._worker = Worker(clock, on_wait=lambda seconds: metrics.observe("queue_wait_seconds", seconds))
        self._exposition = Exposition(clock, metrics, self._keeping, self._worker)
        self._heart = Heartbeat(clock, notifier, self._worker)
        self._keeper: KeeperPort | None = None
        self._left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._polling = Polling(
            self._poll,
            (
                ("reconcile", self._reconcile, options.reconcile_ms / 1000),
                ("housekeeping", self._housekeeping, HOUSEKEEPING_S),
                ("watcher", self._watcher_turned, TURN_S),
            ),
        )
        self._wake = asyncio.Event()
        self._watched: frozenset[tuple[str, str]] = frozenset()
        self._cycling = False
        self._start_failure: Failure | None = None
        self._reloading = asyncio.Lock()
        self.events = EventStream(clock)
        self._answering = Answering(
            Asked(self._running_keeper, self._reload, self._took_event, self._wake.set, self.live),
            clock=clock,
            metrics=metrics,
            keeping=self._keeping,
            worker=self._worker,
            outlets=self._outlets,
            events=self.events,
            diagnosis=self._diagnosis,
            opening_patience_ms=options.opening_patience_ms,
        )
        self._settings = _settings(options.root)
        self._certificate: Certificate | None = None
        self.public_address: tuple[str, int] | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> Left:
        """Start, keep, drain, stop.

        Raises `CannotListen` where an address is taken, `CertificateRefused` where the files for TLS cannot be used.
        """
        listeners = open_listeners(self._options, self._passed)
        self.public_address = listeners.public_address
        try:
            servers = self._servers(listeners)
        except BaseException:
            listeners.close()
            raise
        with self._signals():
            return await self._serve(listeners, servers)

    def _servers(self, listeners: Listeners) -> list[HttpServer]:
        """The servers of the two faces."""
        servers = [HttpServer(control_application(self), listeners.control)]
        if listeners.public is not None:
            console = self._options.console
            self._certificate = None if console is None else certificate_of(console)
            public = public_application(self, console, self._clock)
            servers.append(HttpServer(public, listeners.public, self._certificate))
        return servers

    async def _serve(self, listeners: Listeners, servers: list[HttpServer]) -> Left:
        working = asyncio.create_task(self._worker.run(), name="worker")
        serving = [asyncio.create_task(server.serve(), name="http") for server in servers]
        ticking = asyncio.create_task(self._tick_loop(), name="tick")
        self._spawn(self._open())
        try:
            exit_code = await self._left
        finally:
            abandoned = self._worker.in_hand is not None
            self.events.close()
            for server, task in zip(servers, serving, strict=True):
                await server.stop(task)
            if self._keeper is not None and not abandoned:
                await self._close_keeper(self._keeper)
            await _cancel([ticking, working, *serving, *self._loops.values(), *self._tasks])
            self._worker.close()
            await asyncio.to_thread(self._outlets.close)
            listeners.remove()
        self._log.info("stopped", exit_code=exit_code, abandoned_work=abandoned)
        return Left(exit_code, abandoned, self._start_failure)

    def dispatch(self, event: lifecycle.Event) -> None:
        """Move the state machine and carry out what it says."""
        before = lifecycle.state_name(self._state)
        self._state, actions = lifecycle.transition(self._state, event, self._options.drain_ms)
        after = lifecycle.state_name(self._state)
        if not isinstance(self._state, lifecycle.Starting):
            self._answering.opened()
        if after != before:
            self._metrics.lifecycle(after)
            self._log.info("state changed", before=before, after=after)
            self.events.publish({"kind": "state_changed", "view": None, "state": after})
        for action in actions:
            match action:
                case lifecycle.StartLoops():
                    self._start_loops()
                case lifecycle.StopLoops():
                    self._stop_loops()
                case lifecycle.ReloadDefinitions():
                    self._spawn(self._reload_quietly())
                case lifecycle.CancelWork():
                    if self._keeper is not None:
                        self._keeper.cancel()
                case lifecycle.Leave(exit_code):
                    if not self._left.done():
                        self._left.set_result(exit_code)
                case _:
                    assert_never(action)

    async def _open(self) -> None:
        self._log.info("opening", project=str(self._options.root))
        try:
            self._keeper = await self._worker.submit(Priority.RELOAD, "open the project", self._open_keeper)
            topology = await self._worker.submit(Priority.RELOAD, "read the project", self._keeper.topology)
            paused = await self._worker.submit(Priority.RELOAD, "read the project", self._keeper.paused)
            self._metrics.build(
                str(self._identity.get("version", "")),
                str(self._identity.get("python", "")),
                self._keeper.versions().get("engine_version", ""),
            )
        except Exception as error:  # noqa: BLE001 - reported; the loops go on
            failure = failure_of(error)
            self._start_failure = failure
            self._log.error("cannot start", **failure.to_json())
            self.dispatch(lifecycle.OpenFailed(failure.exit_code))
            return
        self._keeping.defined(topology, paused)
        self._metrics.reloaded("changed", self._clock.now_ms())
        self.dispatch(lifecycle.Opened())

    def _start_loops(self) -> None:
        self._keeping.notice_all("start", urgent=True)
        for name, loop in (
            ("schedule", self._schedule_loop()),
            ("definitions", watch_definitions(self._options.root, self._definitions_changed)),
        ):
            self._loops[name] = asyncio.create_task(loop, name=name)
            self._loops[name].add_done_callback(self._loop_ended)
        self._watch_logs()
        self._polling.plan(self._keeping.poll_groups())
        self._polling.start()
        self._heart.begin()
        self._notifier.ready(self._keeping.summary())
        views, datasets = self._keeping.counts()
        socket, console = str(self._options.socket), self._console_address()
        self._log.info("running", views=views, datasets=datasets, socket=socket, console=console)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        """A loop only ends by being cancelled; otherwise health turns bad and the watchdog restarts the process."""
        if not task.cancelled():
            self._log.error("loop ended", loop=task.get_name(), error=str(task.exception()))

    def _stop_loops(self) -> None:
        self._notifier.stopping("draining")
        # A cycle in hand finishes in its thread; its loop need not be there for it.
        for task in self._loops.values():
            task.cancel()
        self._polling.stop()
        self._worker.refuse_waiting("the daemon is stopping")
        self._spawn(self._drain())

    async def _drain(self) -> None:
        while isinstance(self._state, lifecycle.Draining):
            if self._worker.idle:
                self.dispatch(lifecycle.WorkDone())
                return
            self.dispatch(lifecycle.Ticked(self._clock.monotonic_ms()))
            await asyncio.sleep(DRAIN_LOOK_S)

    async def _close_keeper(self, keeper: KeeperPort) -> None:
        try:
            await asyncio.wait_for(self._worker.submit(Priority.REQUEST, "close", keeper.close), timeout=5.0)
        except Exception as error:  # noqa: BLE001 - reported; the loops go on
            self._log.warning("closing failed", error=str(error))

    # --- loops --------------------------------------------------------------------------------------------------------

    async def _schedule_loop(self) -> None:
        """Run due cycles, the most urgent first, one at a time."""
        while True:
            self._wake.clear()
            self._metrics.tick("schedule", self._clock.now_ms())
            self._heart.turned("planner")
            due = self._keeping.next_due()
            if isinstance(due, Wait):
                timeout = TURN_S
                if due.until_ms is not None:
                    timeout = min(timeout, max(0, due.until_ms - self._clock.monotonic_ms()) / 1000)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout)
                continue
            self._cycling = True
            try:
                await self._cycle(due.views, due.cause)
            finally:
                self._cycling = False

    async def _cycle(self, views: tuple[str, ...], cause: str) -> None:
        keeper = self._keeper
        assert keeper is not None
        observer = in_event_loop(self._took_event)
        self._log.debug("cycle", views=list(views), cause=cause)
        submitted_ms = self._clock.monotonic_ms()

        def call() -> tuple[CycleOutcome, int, int]:
            # What is noticed while the call waits for its turn is still seen by this cycle.
            started_ms, started_wall_ms = self._clock.monotonic_ms(), self._clock.now_ms()
            outcome = keeper.run_cycle(views, cause=cause, force=None, observer=self._outlets.watching(observer))
            self._outlets.cycle_ended(keeper, outcome, started_wall_ms)
            return outcome, started_ms, started_wall_ms

        try:
            outcome, started_ms, started_wall_ms = await self._worker.submit(
                Priority.CYCLE, f"cycle over {len(views)} views", call
            )
        except Exception as error:  # noqa: BLE001 - reported; the loops go on
            self._keeping.cycle_failed(views, cause, submitted_ms, failure_of(error))
            self._outlets.cycle_failed(views, failure_of(error))
        else:
            self._keeping.took_cycle(outcome, cause, started_ms, started_wall_ms)
        self._metrics.tick("cycle", self._clock.now_ms())

    async def _poll(self, datasets: tuple[str, ...]) -> None:
        keeper = self._keeper
        if keeper is None or not isinstance(self._state, lifecycle.Running):
            return
        try:
            looks = await self._worker.submit(Priority.POLL, "look at datasets", lambda: keeper.look(datasets))
        except RetryLater:
            return
        except Exception as error:  # noqa: BLE001 - reported; the loops go on
            self._log.warning("looking failed", error=str(error))
            return
        self._log.debug("looked", datasets={look.dataset: look.version for look in looks})
        if self._keeping.took_looks(looks, self._clock.now_ms()):
            self._wake.set()
            self._noticed(look.dataset for look in looks if look.moved)
        self._metrics.tick("poll", self._clock.now_ms())

    async def _reconcile(self) -> None:
        """Look at everything from time to time: what no event and no poll can tell is found here."""
        self._keeping.notice_all("reconcile", urgent=False)
        self._wake.set()
        self._watch_logs()

    async def _housekeeping(self) -> None:
        keeper = self._keeper
        if keeper is None or not isinstance(self._state, lifecycle.Running):
            return
        try:
            merged = await self._worker.submit(Priority.CYCLE, "housekeeping", keeper.housekeeping)
            if merged:
                self._log.info("targets compacted", views=list(merged))
        except Exception as error:  # noqa: BLE001 - reported; the loops go on
            self._log.warning("housekeeping failed", error=str(error))
        self._metrics.tick("housekeeping", self._clock.now_ms())

    async def _tick_loop(self) -> None:
        while True:
            if isinstance(self._state, lifecycle.Running):
                self._keeping.account_lag()
                self._outlets.states(self._keeping.states)
            if self._cycling:
                # Its cycle is with the committer, who answers for it.
                self._heart.turned("planner")
            self._heart.beat(self._turning_parts(), self._state, self._keeping.summary)
            await asyncio.sleep(TICK_S)

    def _turning_parts(self) -> tuple[Part, ...]:
        """The parts that have to turn now: only the thread works while starting and draining."""
        return PARTS if isinstance(self._state, lifecycle.Running) else ("committer",)

    def _took_event(self, event: Mapping[str, JsonValue]) -> None:
        self._heart.turned("committer")
        self._keeping.took_event(event)
        self.events.publish(event)

    async def _watcher_turned(self) -> None:
        """The timetable of the looks turns, and definitions are followed; following logs is only a hint."""
        definitions = self._loops.get("definitions")
        if definitions is not None and not definitions.done():
            self._heart.turned("watcher")

    # --- watching -----------------------------------------------------------------------------------------------------

    def _watch_logs(self) -> None:
        """Watch the logs that exist now; called again because tables come and go."""
        folders = self._keeping.log_folders()
        there = existing_folders(folders.values())
        existing = frozenset(item for item in folders.items() if item[1] in there)
        task = self._loops.get("watch")
        if existing == self._watched and task is not None and not task.done():
            return
        if task is not None:
            task.cancel()
        self._watched = existing
        self._loops["watch"] = asyncio.create_task(watch_logs(folders, self._logs_grew), name="watch")

    def _logs_grew(self, datasets: frozenset[str]) -> None:
        self._metrics.add("watch_events_total", kind="log")
        self._metrics.tick("watch", self._clock.now_ms())
        self._keeping.notice_datasets(datasets, "event")
        self._noticed(datasets)
        self._wake.set()

    async def _definitions_changed(self) -> None:
        self._metrics.add("watch_events_total", kind="definition")
        self.dispatch(lifecycle.ReloadAsked())

    # --- reload -------------------------------------------------------------------------------------------------------

    async def _reload_quietly(self) -> None:
        """Reload because a file or a signal said so; the error is kept for status, metrics and log."""
        with contextlib.suppress(Exception):
            await self._reload()

    async def _reload(self) -> ReloadOutcome:
        keeper = self._running_keeper()
        async with self._reloading:
            self._notifier.reloading(self._clock.monotonic_ms())
            refused = self._renew_certificate()
            try:
                outcome = await self._worker.submit(Priority.RELOAD, "reload", keeper.reload)
                topology = await self._worker.submit(Priority.RELOAD, "reload", keeper.topology)
                paused = await self._worker.submit(Priority.RELOAD, "reload", keeper.paused)
            except Exception as error:
                failure = failure_of(error)
                self._keeping.definitions_failure = failure
                self.events.publish({"kind": "reload_failed", "view": None, "message": failure.message})
                self._metrics.reloaded("failed", self._clock.now_ms())
                self._log.error("reload failed, the old definitions stay", **failure.to_json())
                self._outlets.reloaded(failure)
                self._notifier.ready(self._keeping.summary())
                raise
            self._keeping.definitions_failure = None
            self.events.publish({"kind": "reloaded", "view": None, "changed": list(outcome.changed)})
            result = "failed" if refused is not None else "changed" if outcome.changed else "unchanged"
            self._metrics.reloaded(result, self._clock.now_ms())
            self._log.info("reloaded", changed=list(outcome.changed))
            self._outlets.reloaded()
            self._keeping.restart_needed = _settings(self._options.root) != self._settings
            if self._keeping.restart_needed:
                self._log.warning("restart needed", hint="[engine], [daemon] and integrations are read at start only")
            self._keeping.defined(topology, paused)
            self._keeping.notice(outcome.changed, "definition", urgent=True)
            self._polling.plan(self._keeping.poll_groups())
            self._watch_logs()
            self._wake.set()
            self._notifier.ready(self._keeping.summary())
            if refused is not None:
                # Whoever has renewed it waits for this answer; the definitions are in use all the same.
                raise refused
            return outcome

    def _renew_certificate(self) -> CertificateRefused | None:
        """Take up the certificate on disk; one that cannot be used is told, and leaves the old one in use."""
        if self._certificate is None:
            return None
        try:
            self._certificate.renew()
        except CertificateRefused as error:
            self._keeping.certificate_failure = failure_of(error)
            self.events.publish({"kind": "certificate_refused", "view": None, "message": error.message})
            self._log.error("certificate refused, the old one stays", **failure_of(error).to_json())
            return error
        self._keeping.certificate_failure = None
        self._log.info("certificate read again")
        return None

    # --- what the servers ask -----------------------------------------------------------------------------------------

    async def perform(
        self, operation: str, parameters: Mapping[str, JsonValue], observer: Observer, caller: Caller
    ) -> JsonValue:
        """Run an operation for a client, if it may."""
        return await self._answering.perform(operation, parameters, observer, caller)

    def turned_away(self, caller: Caller, operation: str, error: DeltakeepError) -> None:
        """Keep that a caller was not let in."""
        self._answering.turned_away(caller, operation, error)

    def _state_now(self) -> dict[str, JsonValue]:
        """How the service is, for the log and the support bundle; called from any thread."""
        loops = {
            name: "running" if not task.done() else "cancelled" if task.cancelled() else str(task.exception())
            for name, task in self._loops.items()
        }
        return {
            "identity": dict(self.identity()),
            "summary": self._keeping.summary(),
            "healthy": self.is_healthy(),
            "ready": dict(self.ready_gates()),
            "loops": loops,
            "calls_waiting": self._worker.queued,
            "keeping": self._keeping.to_json(),
        }

    def live(self) -> dict[str, JsonValue]:
        """What status tells of the daemon itself; from memory alone."""
        return {**self.identity(), **self._keeping.to_json()}

    @property
    def topology(self) -> Topology:
        """The definitions in use."""
        return self._keeping.topology

    def _noticed(self, datasets: Iterable[str]) -> None:
        for dataset in sorted(datasets):
            self.events.publish({"kind": "dataset_moved", "view": None, "dataset": dataset})

    def identity(self) -> Mapping[str, JsonValue]:
        """Process id, version, state, project, and what runs."""
        running = self._worker.in_hand
        now_ms = self._clock.monotonic_ms()
        in_hand = None if running is None else {"what": running.label, "elapsed_ms": now_ms - running.started_ms}
        project, state = str(self._options.root), lifecycle.state_name(self._state)
        return {**self._identity, "state": state, "project": project, "in_hand": in_hand}

    def ready_gates(self) -> Mapping[str, bool]:
        """Running, and every view was looked at once since the start."""
        return {
            OPENED_GATE: isinstance(self._state, lifecycle.Running),
            "every view looked at": self._keeping.looked_at_all,
        }

    def is_healthy(self) -> bool:
        """Watcher, planner and committer turn, as far as the state asks for them."""
        return not self._heart.standing(self._turning_parts())

    def request_stop(self) -> None:
        """Drain and stop."""
        self.dispatch(lifecycle.StopAsked(self._clock.monotonic_ms()))

    async def exposition(self) -> bytes:
        """The metrics as text."""
        keeper = self._keeper if isinstance(self._state, lifecycle.Running) else None
        return await self._exposition.text(keeper, ready=all(self.ready_gates().values()))

    # --- details ------------------------------------------------------------------------------------------------------

    def _running_keeper(self) -> KeeperPort:
        match self._state:
            case lifecycle.Running() if self._keeper is not None:
                return self._keeper
            case lifecycle.Starting() | lifecycle.Running():
                raise RetryLater("starting", "the daemon is still opening the project", hint="repeat in a moment")
            case lifecycle.Draining() | lifecycle.Stopped():
                raise RetryLater("draining", "the daemon is stopping", hint="repeat when it is up again")
            case _:
                assert_never(self._state)

    def _console_address(self) -> str | None:
        console = self._options.console
        if console is None or self.public_address is None:
            return None
        host, port = self.public_address
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if console.encrypts else 'http'}://{name}:{port}/console/"

    def _signals(self) -> contextlib.AbstractContextManager[None]:
        if not self._options.handle_signals:
            return contextlib.nullcontext()
        return signals_answered(
            stop=self.request_stop, reload=lambda: self.dispatch(lifecycle.ReloadAsked()), show=self._diagnosis.show
        )

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _settings(root: Path) -> Mapping[str, JsonValue]:
    """What only a start reads; empty where it cannot be read now."""
    try:
        return settings_at_start(root)
    except (DeltakeepError, OSError):
        return {}


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    current = asyncio.current_task()
    for task in tasks:
        if task is not current:
            task.cancel()
    await asyncio.gather(*(task for task in tasks if task is not current), return_exceptions=True)
