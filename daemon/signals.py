"""What signals ask of the service: TERM and INT stop, HUP reloads, USR1 shows where every thread is."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals_answered(*, stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Answer signals in the running event loop of the main thread for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    answers = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: reload,
        signal.SIGUSR1: _show_stacks,
    }
    for number, answer in answers.items():
        loop.add_signal_handler(number, answer)
    try:
        yield
    finally:
        for number in answers:
            loop.remove_signal_handler(number)


def _show_stacks() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
