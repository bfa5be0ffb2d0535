"""A process that makes one native call which ends never, and stops it; run by `tests/test_interruptions.py`.

Another thread waits until the call holds memory of the engine, which it can only find out if the call lets other
threads run; counts on; and then interrupts the process as Ctrl-C does, or cancels the call.
What was left behind by the call must not keep the process from answering other questions, nor from ending.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from incremental.keeper import Keeper
from registry.errors import DeltakeepError
from registry.native import PinnedInput, VerifyRequest
from tests.workspace import SteppedClock

PROGRESS: Final = 100_000
"""So far another thread counts while a native call works."""

ENDLESS: Final = (
    "SELECT count(*) AS n FROM {0} a CROSS JOIN (SELECT b.id + c.id AS id FROM {0} b CROSS JOIN {0} c) d"
    " WHERE a.id + d.id = -1"
)
"""Reads little, holds little and yields to nobody."""


def ended(keeper: Keeper, call: Callable[[], object], stop: Callable[[], None]) -> tuple[str, int]:
    """Make a call and stop it from another thread; how it ended, and how far the other thread came meanwhile."""
    engine, counted, gone = keeper.runtime.engine, 0, threading.Event()

    def elsewhere() -> None:
        nonlocal counted
        while engine.reserved_bytes() == 0:
            if gone.is_set():
                return
        for _ in range(PROGRESS):
            counted += 1
        stop()

    other = threading.Thread(target=elsewhere)
    other.start()
    try:
        call()
    except KeyboardInterrupt:
        how = "interrupted"
    except DeltakeepError as error:
        how = error.code
    else:
        how = "finished"
    gone.set()
    other.join()
    return how, counted


def main() -> None:
    """Stop one call, ask something else, and end."""
    root, name, word = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    keeper = Keeper.open(root, clock=SteppedClock())
    compiled = keeper.world.compiled.views
    view = next(iter(compiled.values()))
    table = keeper.project.relations[next(iter(keeper.world.graph.inputs(view.view.name)))]
    state = keeper.runtime.table_state(table)
    pinned = PinnedInput(relation="numbers", table=table, version=state.version, table_id=state.table_id)
    verify = VerifyRequest(bundle=view.bundle.document, inputs=(pinned,), target=view.view.target, version=0)
    calls: dict[str, Callable[[], object]] = {
        "query": lambda: keeper.query(ENDLESS.format("numbers")).read_all(),
        "refresh": lambda: keeper.run_cycle(cause="test"),
        "verify": lambda: keeper.runtime.verify(verify),
    }
    stops: dict[str, Callable[[], None]] = {
        "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
        "cancel": keeper.cancel,
    }
    how, counted = ended(keeper, calls[name], stops[word])
    (row,) = keeper.query("SELECT count(*) AS n FROM numbers").read_all().to_pylist()
    print(json.dumps({"ended": how, "counted": counted, "rows": row["n"]}), flush=True)
    keeper.close()


if __name__ == "__main__":
    main()
