"""What signals ask of the service: TERM and INT stop, HUP reloads, USR1 writes state and stacks to the log."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHOWING_THREAD = "show"


@contextmanager
def signals_answered(
    *, stop: Callable[[], None], reload: Callable[[], None], show: Callable[[], None]
) -> Iterator[None]:
    """Answer signals in the running event loop of the main thread for as long as the context lasts.

    `show` is called in a thread of its own: an event loop that is stuck is what it is there to show.
    """
    loop = asyncio.get_running_loop()
    answers = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: reload,
    }
    for number, answer in answers.items():
        loop.add_signal_handler(number, answer)
    before = signal.signal(
        signal.SIGUSR1, lambda _number, _frame: threading.Thread(target=show, name=SHOWING_THREAD, daemon=True).start()
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
        for number in answers:
            loop.remove_signal_handler(number)
