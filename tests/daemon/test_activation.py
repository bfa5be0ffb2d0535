"""Sockets that systemd passes: taken over, told apart, refused, and left behind for the next start."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.activation import PassedSockets, WrongSockets, take_passed_sockets
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import running

ME = os.getpid()


class Passing:
    """Descriptors in a row, as the service manager leaves them."""

    def __init__(self, *sockets: socket.socket) -> None:
        self.first = 200
        for index, one in enumerate(sockets):
            os.dup2(one.fileno(), self.first + index)
        self.environment = {"LISTEN_PID": str(ME), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "x", "HOME": "/"}

    def take(self) -> PassedSockets:
        return take_passed_sockets(self.environment, ME, self.first)


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "control.sock"))
        one.listen()
        yield one


def test_a_unix_socket_is_for_control_and_a_tcp_socket_for_metrics(unix: socket.socket) -> None:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        passing = Passing(tcp, unix)
        passed = passing.take()
        assert passed.control is not None
        assert passed.public is not None
        assert passed.control.getsockname() == unix.getsockname()
        assert passed.public.getsockname() == tcp.getsockname()
        # Nothing is left for child processes: neither the variables nor the descriptors.
        assert passing.environment == {"HOME": "/"}
        assert not passed.control.get_inheritable()
        passed.close()


def test_sockets_for_another_process_are_left_alone() -> None:
    assert take_passed_sockets({"LISTEN_PID": str(ME + 1), "LISTEN_FDS": "1"}, ME) == PassedSockets()
    assert take_passed_sockets({}, ME) == PassedSockets()


def test_what_nobody_can_connect_to_is_refused(unix: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams, pytest.raises(WrongSockets) as caught:
        Passing(datagrams).take()
    assert caught.value.exit_code == 78
    with pytest.raises(WrongSockets, match="second"):
        Passing(unix, unix).take()
    reading, writing = os.pipe()
    os.close(writing)
    os.dup2(reading, 200)
    os.close(reading)
    with pytest.raises(WrongSockets, match="no socket"):
        take_passed_sockets({"LISTEN_PID": str(ME), "LISTEN_FDS": "1"}, ME, 200)
    os.close(200)


def test_a_client_that_comes_between_two_daemons_is_answered_by_the_second(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deltakeep.sock"
    path.parent.mkdir()

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(str(path))
            path.chmod(0o660)
            ours.listen()
            async with running(tmp_path, FakeKeeper(), passed=Passing(ours).take()) as one:
                assert await one.call("why", view="clean") == {"view": "clean"}
            # Left as it was made: the name and the mode are the service manager's.
            assert path.stat().st_mode & 0o777 == 0o660
            waiting = asyncio.create_task(one.call("why", view="daily"))
            async with running(tmp_path, FakeKeeper(), passed=Passing(ours).take()):
                assert await waiting == {"view": "daily"}

    asyncio.run(scenario())
