"""The TCP side of a running service: who gets in, what may be done, and what answers carry."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from daemon.certificate import CertificateRefused
from daemon.clock import SystemClock
from daemon.console.failed_tokens import FAILED_MAX
from daemon.console.request_limits import OPEN_OF_ONE_MAX
from daemon.console.settings import ConsoleSettings
from daemon.control import CONNECTIONS_MAX
from daemon.failure import Failed
from daemon.log import configure_logging
from daemon.operations import OPERATIONS
from daemon.tokens import TokenFile
from tests.daemon.console.asking import ask, make_token
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import running


def test_reading_needs_no_token_here_and_acting_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            assert (await ask(one, "/v1/why", {"view": "clean"})).json == {"view": "clean"}
            assert (await ask(one, "/v1/console/caller")).json["way"] == "loopback"
            refused = await ask(one, "/v1/pause", {"view": "clean"})
            assert (refused.status, refused.code) == (403, "not_allowed")
            assert not keeper.paused_views
            token = make_token(one, "ann", "operate")
            assert (await ask(one, "/v1/pause", {"view": "clean", "reason": "x"}, token=token)).status == 200
            assert keeper.paused_views == {"clean"}
            await one.until(lambda: len(keeper.made) == 1)
            assert [(made.who, made.way, made.reason) for made in keeper.made] == [("ann", "token", "x")]

    asyncio.run(scenario())


def test_each_operation_is_answered_by_role(tmp_path: Path) -> None:
    given = {
        "scans": {"view": "clean", "cycle_id": "c"},
        "why": {"view": "clean"},
        "explain": {"view": "clean"},
        "query": {"sql": "SELECT 1"},
        "refresh": {"views": ["clean"]},
        "pause": {"view": "clean"},
        "resume": {"view": "clean"},
    }

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            tokens = {role: make_token(one, role, role) for role in ("read", "operate", "admin")}
            for name, operation in OPERATIONS.items():
                for role, token in tokens.items():
                    answered = await ask(one, f"/v1/{name}", given.get(name, {}), token=token)
                    allowed = list(tokens).index(role) >= list(tokens).index(operation.role)
                    assert answered.status == (200 if allowed else 403), (name, role, answered.text)

    asyncio.run(scenario())


def test_a_revoked_token_is_refused_at_once_and_no_stop_is_on_tcp(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            token = make_token(one, "ann", "admin")
            assert (await ask(one, "/v1/status", {}, token=token)).status == 200
            assert (await ask(one, "/-/quit", {}, token=token)).status in (404, 405)
            TokenFile(one.socket.parent / "tokens.json").revoke("ann")
            refused = await ask(one, "/v1/status", {}, token=token)
            assert (refused.status, refused.code) == (401, "wrong_token")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert one.state == "running"

    asyncio.run(scenario())


def test_an_expired_token_is_refused_with_its_end_and_kept_with_who_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            now_ms = SystemClock().now_ms()
            tokens = TokenFile(one.socket.parent / "tokens.json")
            over = tokens.create("ann", "operate", now_ms=1, by="test", expires_ms=now_ms - 1_000)
            good = tokens.create("ben", "operate", now_ms=1, by="test", expires_ms=now_ms + 600_000)
            assert (await ask(one, "/v1/status", {}, token=good)).status == 200
            refused = await ask(one, "/v1/pause", {"view": "clean"}, token=over)
            assert (refused.status, refused.code) == (401, "token_expired")
            assert 'the token "ann" expired at 20' in refused.json["error"]["message"]
            assert not keeper.paused_views
            assert (await ask(one, "/v1/console/overview", token=over)).code == "token_expired"
            await one.until(lambda: len(keeper.made) == 2)
            kept = {(made.who, made.way, made.operation, made.result) for made in keeper.made}
            assert kept == {
                ("ann", "token", "pause", "token_expired"),
                ("ann", "token", "console", "token_expired"),
            }
            for _ in range(FAILED_MAX - 2):
                await ask(one, "/v1/status", {}, token=over)
            assert (await ask(one, "/v1/status", {}, token=over)).status == 429
            assert len(keeper.made) <= FAILED_MAX

    asyncio.run(scenario())


def test_guessing_is_stopped_and_the_file_of_tokens_has_to_be_private(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            token = make_token(one, "ann", "read")
            (tmp_path / "state" / "tokens.json").chmod(0o644)
            exposed = await ask(one, "/v1/status", {}, token=token)
            assert (exposed.status, exposed.code) == (503, "tokens_exposed")
            (tmp_path / "state" / "tokens.json").chmod(0o600)
            for number in range(FAILED_MAX):
                assert (await ask(one, "/v1/status", {}, token=f"dk_guess{number}")).status == 401
            limited = await ask(one, "/v1/status", {}, token=token)
            assert (limited.status, limited.code) == (429, "too_many_tokens")
            assert limited.headers["retry-after"] == "60"
            assert (await ask(one, "/v1/status", {})).status == 200

    asyncio.run(scenario())


def test_who_asks_too_much_waits_and_others_and_monitoring_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.console.request_limits.BURST", 20)
    monkeypatch.setattr("daemon.console.request_limits.PER_SECOND", 0.5)
    settings = ConsoleSettings(tmp_path / "state" / "tokens.json", behind_proxy=True)
    log = io.StringIO()

    async def scenario() -> None:
        configure_logging(SystemClock(), "json", log)
        async with running(tmp_path, FakeKeeper(), console=settings) as one:
            token = make_token(one, "ann", "read")
            mine, other = {"x-forwarded-for": "198.51.100.7"}, {"x-forwarded-for": "198.51.100.8"}
            statuses = [(await ask(one, "/v1/status", {}, token=token, headers=mine)).status for _ in range(20)]
            assert statuses == [200] * 20
            # Whatever it asks for counts, with or without a token, the console's files too.
            wait_s = 0
            for path, body in (("/v1/status", {}), ("/v1/console/overview", None), ("/console/", None)):
                limited = await ask(one, path, body, token=token, headers=mine)
                assert (limited.status, limited.code) == (429, "too_many_requests"), path
                wait_s = int(limited.headers["retry-after"])
                assert 1 <= wait_s <= 2
                assert limited.headers["x-content-type-options"] == "nosniff"
            assert (await ask(one, "/v1/status", {}, token=token, headers=other)).status == 200
            for path in ("/metrics", "/-/healthy", "/-/ready", "/-/started"):
                assert {(await ask(one, path, headers=mine)).status for _ in range(25)} == {200}, path
            await asyncio.sleep(wait_s)
            assert (await ask(one, "/v1/status", {}, token=token, headers=mine)).status == 200

    asyncio.run(scenario())
    assert log.getvalue().count("too many requests") == 1
    assert "198.51.100.7" in log.getvalue()


def test_who_keeps_requests_open_waits_and_what_has_ended_counts_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            streams = []
            for _ in range(OPEN_OF_ONE_MAX):
                reader, writer = await asyncio.open_connection(*one.service.public_address)
                writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                streams.append(writer)
            limited = await ask(one, "/v1/status", {})
            assert (limited.status, limited.code) == (429, "too_many_requests")
            assert (await ask(one, "/-/healthy")).status == 200
            streams.pop().close()
            async with asyncio.timeout(10):
                while (await ask(one, "/v1/status", {})).status != 200:  # noqa: ASYNC110 - the server notices by itself
                    await asyncio.sleep(0.05)
            for writer in streams:
                writer.close()

    asyncio.run(scenario())


def test_connections_that_ask_nothing_make_room_for_monitoring(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            hoarded = [await asyncio.open_connection(*one.service.public_address) for _ in range(CONNECTIONS_MAX + 20)]
            # Half a request is none.
            for _, writer in hoarded:
                writer.write(b"GET /v1/status HTTP/1.1\r\n")
            for path in ("/metrics", "/-/healthy", "/-/ready", "/console/"):
                assert (await ask(one, path)).status == 200, path
            async with asyncio.timeout(10):
                assert await hoarded[0][0].read() == b"", "the oldest was closed"
            for _, writer in hoarded:
                writer.close()

    asyncio.run(scenario())


def test_no_token_gets_into_a_log_or_an_answer(tmp_path: Path) -> None:
    log = io.StringIO()

    async def scenario() -> list[str]:
        configure_logging(SystemClock(), "json", log)
        async with running(tmp_path, FakeKeeper()) as one:
            good, wrong = make_token(one, "ann", "operate"), "dk_canary_that_must_not_be_seen"
            answers = [
                await ask(one, path, body, token=token)
                for token in (good, wrong)
                for path, body in (
                    ("/v1/status", {}),
                    ("/v1/pause", {"view": "clean"}),
                    ("/v1/pause", {"view": "nope", "reason": 3}),
                    ("/v1/query", {"sql": "x"}),
                    ("/v1/console/caller", None),
                    ("/v1/console/overview", None),
                    ("/v1/nonsense", {}),
                    ("/v1/requests", {}),
                )
            ]
            (tmp_path / "state" / "tokens.json").write_text("broken")
            answers.append(await ask(one, "/v1/status", {}, token=good))
            metrics = await ask(one, "/metrics")
            assert answers[-1].status == 503
            return [good, wrong, *(one.text + json.dumps(one.headers) for one in [*answers, metrics])]

    good, wrong, *texts = asyncio.run(scenario())
    assert "wrong token" in log.getvalue()
    for text in (*texts, log.getvalue()):
        assert good not in text
        assert wrong not in text


def test_names_and_pages_of_others_are_refused_on_every_path_but_monitoring(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            for path in ("/", "/console/", "/console/console.js", "/v1", "/v1/console/overview", "/v1/events"):
                rebound = await ask(one, path, headers={"host": "evil.example"})
                assert (rebound.status, rebound.code) == (421, "wrong_host"), path
            for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
                assert (await ask(one, "/v1/status", {}, headers=headers)).code == "other_origin"
            assert (await ask(one, "/metrics", headers={"host": "deltakeep:9187"})).status == 200
            assert (await ask(one, "/-/healthy", headers={"host": "10-1-2-3.pod"})).status == 200

    asyncio.run(scenario())


def test_a_body_has_a_type_and_a_bound(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            form = await ask(one, "/v1/status", b"a=b", headers={"content-type": "application/x-www-form-urlencoded"})
            assert (form.status, form.code) == (415, "not_json")
            large = await ask(one, "/v1/why", {"view": "x" * 70_000})
            assert (large.status, large.code) == (413, "too_large")
            half = b'{"view": "\\ud800"}'
            for body in (half, b"[" * 60_000, b"{", b"[]", b"\xff", b'"x"'):
                assert (await ask(one, "/v1/why", body)).status == 400, body[:10]

    asyncio.run(scenario())


def test_answers_guard_the_browser_and_only_the_consoles_files_are_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            page, data = await ask(one, "/console/"), await ask(one, "/v1/console/overview")
            for answered in (page, data):
                policy = answered.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert answered.headers["x-content-type-options"] == "nosniff"
                assert answered.headers["referrer-policy"] == "no-referrer"
                assert "access-control-allow-origin" not in answered.headers
            assert data.headers["cache-control"] == "no-store"
            assert "<script>" not in page.text
            assert (await ask(one, "/console/", headers={"if-none-match": page.headers["etag"]})).status == 304
            for path in ("/console/../settings.py", "/console/%2e%2e/gate.py", "/console/gate.py", "/console/x/y.js"):
                assert (await ask(one, path)).status == 404, path
            assert (await ask(one, "/")).headers["location"] == "console/"

    asyncio.run(scenario())


def test_without_a_console_only_monitoring_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), with_console=False) as one:
            assert (await ask(one, "/metrics")).status == 200
            for path in ("/", "/console/", "/v1"):
                assert (await ask(one, path)).status == 404

    asyncio.run(scenario())


def test_events_come_as_a_stream_and_end_when_the_daemon_does(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            reader, writer = await asyncio.open_connection(*one.service.public_address)
            writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await one.call("pause", view="clean", reason="why not")
            seen = b""
            async with asyncio.timeout(10):
                while b"why not" not in seen:
                    more = await reader.read(65_536)
                    assert more, seen
                    seen += more
                began = asyncio.get_running_loop().time()
                one.service.request_stop()
                await one.task
                assert asyncio.get_running_loop().time() - began < 1.5
            writer.close()
            return seen

    seen = asyncio.run(scenario()).decode()
    assert "content-type: text/event-stream" in seen
    events = [json.loads(line[5:]) for line in seen.splitlines() if line.startswith("data:")]
    assert [event["number"] for event in events] == sorted(event["number"] for event in events)
    assert {"cycle_started", "refresh_finished", "requested"} <= {event["kind"] for event in events}


def test_a_stream_of_events_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            token = make_token(one, "ann", "read")
            reader, writer = await asyncio.open_connection(*one.service.public_address)
            request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            writer.write(request.encode())
            async with asyncio.timeout(10):
                await reader.readuntil(b"\n\n")
                TokenFile(one.socket.parent / "tokens.json").revoke("ann")
                await one.call("pause", view="clean", reason="not for ann")
                rest = await reader.readuntil(b"0\r\n\r\n")
            assert b"not for ann" not in rest
            writer.close()

    asyncio.run(scenario())


def test_a_stream_of_events_ends_when_its_token_expires(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            file = TokenFile(one.socket.parent / "tokens.json")
            until_ms = SystemClock().now_ms() + 1_500
            token = file.create("ann", "read", now_ms=1, by="test", expires_ms=until_ms)
            reader, writer = await asyncio.open_connection(*one.service.public_address)
            request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            writer.write(request.encode())
            async with asyncio.timeout(10):
                await reader.readuntil(b"\n\n")
                await one.until(lambda: SystemClock().now_ms() >= until_ms)
                await one.call("pause", view="clean", reason="not for ann")
                rest = await reader.readuntil(b"0\r\n\r\n")
            assert b"not for ann" not in rest
            writer.close()

    asyncio.run(scenario())


def test_while_the_keeper_is_busy_pages_show_what_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.console.answers.PATIENCE_S", 0.05)
    monkeypatch.setattr("daemon.console.answers.PATIENCE_FIRST_S", 1.3)

    async def scenario() -> None:
        keeper = FakeKeeper(hold=threading.Event())
        assert keeper.hold is not None
        keeper.hold.set()
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: all(one.service.ready_gates().values()))
            before = (await ask(one, "/v1/console/why", {"view": "clean"})).json
            assert (before["value"], before["busy"]) == ({"view": "clean"}, None)
            keeper.hold.clear()
            keeper.started.clear()
            refreshing = asyncio.create_task(one.call("refresh", views=["clean"]))
            await asyncio.to_thread(keeper.started.wait, 10)
            during = (await ask(one, "/v1/console/why", {"view": "clean"})).json
            assert (during["value"], during["busy"], during["at_ms"]) == ({"view": "clean"}, "refresh", before["at_ms"])
            unknown = await ask(one, "/v1/console/why", {"view": "daily"})
            assert (unknown.status, unknown.code) == (503, "busy")
            overview = await ask(one, "/v1/console/overview")
            assert overview.json["daemon"]["in_hand"]["what"] == "refresh"
            keeper.hold.set()
            await refreshing
            # Patience is short here: a slow machine may find the next question still in hand.
            async with asyncio.timeout(10):
                while (await ask(one, "/v1/console/why", {"view": "daily"})).json["busy"] is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key, in place of those that are there."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]
    subprocess.run([*words.split(), *named], check=True, capture_output=True)
    return made, key


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def test_with_certificate_and_key_tcp_speaks_tls_only(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    settings = ConsoleSettings(
        tmp_path / "state" / "tokens.json", tls_certificate=certificate[0], tls_key=certificate[1]
    )

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), console=settings) as one:
            trusting = ssl.create_default_context(cafile=str(certificate[0]))
            page = await ask(one, "/console/", tls=trusting)
            assert page.status == 200
            assert "max-age" in page.headers["strict-transport-security"]
            with pytest.raises((OSError, HTTPException)):
                await ask(one, "/console/")

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["signal", "command"])
def test_a_renewed_certificate_is_taken_up_by_a_reload(
    tmp_path: Path, certificate: tuple[Path, Path], way: str
) -> None:
    settings = ConsoleSettings(tmp_path / "tokens.json", tls_certificate=certificate[0], tls_key=certificate[1])

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), console=settings, handle_signals=True) as one:
            first = ssl.create_default_context(cafile=str(certificate[0]))
            assert (await ask(one, "/console/", tls=first)).status == 200
            make_certificate(tmp_path)
            renewed = ssl.create_default_context(cafile=str(certificate[0]))
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(one, "/console/", tls=renewed)
            if way == "signal":
                os.kill(os.getpid(), signal.SIGHUP)
                await one.until(lambda: one.value("config_reloads_total", result="unchanged") == 1)
            else:
                await one.call("reload")
            assert (await ask(one, "/console/", tls=renewed)).status == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(one, "/console/", tls=first)

    asyncio.run(scenario())


def _break(what: str, certificate: tuple[Path, Path]) -> None:
    file, key = certificate
    match what:
        case "certificate":
            file.write_text("half a certifi")
        case "key":  # of another certificate
            (file.parent / "other").mkdir()
            key.write_bytes(make_certificate(file.parent / "other")[1].read_bytes())
        case "missing":
            key.unlink()
        case _:
            words = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", str(key), "-out", str(key)]
            subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize("broken", ["certificate", "key", "missing", "locked"])
def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_use_and_is_told(
    tmp_path: Path, certificate: tuple[Path, Path], broken: str
) -> None:
    settings = ConsoleSettings(tmp_path / "tokens.json", tls_certificate=certificate[0], tls_key=certificate[1])
    kept = [file.read_bytes() for file in certificate]

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), console=settings) as one:
            trusting = ssl.create_default_context(cafile=str(certificate[0]))
            await asyncio.to_thread(_break, broken, certificate)
            with pytest.raises(Failed, match="TLS cannot be used") as caught:
                await one.call("reload")
            assert (caught.value.failure.code, caught.value.failure.exit_code) == ("certificate_refused", 78)
            assert (await ask(one, "/console/", tls=trusting)).status == 200
            daemon = (await one.call("status"))["daemon"]
            assert daemon["certificate_failure"]["code"] == "certificate_refused"
            assert str(certificate[0]) in daemon["certificate_failure"]["message"]
            assert one.value("config_last_reload_successful") == 0
            assert "certificate_refused" in [one.event["kind"] for one in one.service.events.kept()]
            for file, content in zip(certificate, kept, strict=True):
                file.write_bytes(content)
            await one.call("reload")
            assert (await one.call("status"))["daemon"]["certificate_failure"] is None
            assert one.value("config_last_reload_successful") == 1

    asyncio.run(scenario())


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    other = tmp_path / "other.pem"
    other.write_text("no key")
    for key in (other, tmp_path / "missing.pem"):
        settings = ConsoleSettings(tmp_path / "t", tls_certificate=certificate[0], tls_key=key)

        async def scenario(settings: ConsoleSettings = settings) -> None:
            async with running(tmp_path, FakeKeeper(), console=settings) as one:
                await one.task

        with pytest.raises(CertificateRefused, match="TLS cannot be used") as caught:
            asyncio.run(scenario())
        assert caught.value.exit_code == 78
        assert not (tmp_path / "state" / "deltakeep.sock").exists()


def test_a_caller_that_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.service.public_address is not None
            with contextlib.ExitStack() as open_ones:
                for _ in range(40):
                    open_ones.enter_context(socket.create_connection(one.service.public_address))
                assert (await ask(one, "/v1/console/overview")).status == 200

    asyncio.run(scenario())
