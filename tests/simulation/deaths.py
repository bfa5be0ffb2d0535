"""Lives of a project in which the keeper dies: changes, a refresh that is killed, alone or beside another process.

A death is either at a step, which the seed replays, or at a moment, wherever the process is by then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from tests.simulation.chain import assert_settled, assert_sound
from tests.simulation.processes import KILLED, STOP, TELL, Worker, cycle_killed_after, endless_cycles
from tests.simulation.test_two_keepers import assert_good
from tests.workspace import Workspace

ROUNDS: Final = 3
NEVER: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a life is made of.

    `happen` changes the project before each refresh, `disturb` while it runs beside another process; `steps` are about
    as many as one refresh of everything tells, and `moments_s` the seconds within which a process may die anywhere: 0
    where deaths are at steps alone; `judge` looks at what a death leaves behind, after the audit did.
    """

    happen: Callable[[Workspace, random.Random, int], None]
    disturb: Callable[[Workspace, random.Random], None]
    steps: int
    moments_s: float = 0.0
    judge: Callable[[Workspace], None] = lambda _: None


def live_and_die(workspace: Workspace, seed: int, circumstances: Circumstances) -> None:
    """Change, refresh and die, some times over; then whoever comes next makes everything right."""
    chance = random.Random(seed)
    for number in range(ROUNDS):
        circumstances.happen(workspace, chance, number)
        die(workspace, chance, circumstances, f"seed {seed}, round {number}")
        workspace.clock.step(3_600_000)
        assert_sound(workspace)
        circumstances.judge(workspace)
    assert_settled(workspace)
    circumstances.judge(workspace)


def die(workspace: Workspace, chance: random.Random, circumstances: Circumstances, about: str) -> None:
    """Run one cycle that dies on its way, or, now and then, does not."""
    beside = chance.random() < 0.5
    dies_at = chance.randrange(circumstances.steps)
    concurrency = chance.randint(2, 6)
    moment_s = chance.uniform(0, circumstances.moments_s) if chance.random() < 0.5 else 0.0
    end = f"after {moment_s:.3f} s" if moment_s else f"at step {dies_at}"
    workspace.settings = f"concurrency = {concurrency}"
    workspace.configure()
    start_ms = workspace.clock.at_ms + 60_000
    with ExitStack() as running:
        other = running.enter_context(endless_cycles(workspace.root, start_ms)) if beside else None
        steps = NEVER if moment_s else dies_at
        mortal = running.enter_context(cycle_killed_after(workspace.root, start_ms, steps))
        if other is not None:
            circumstances.disturb(workspace, chance)
        code = mortal.killed_after(moment_s) if moment_s else mortal.ended()
        print(f"{about}: ends {end} with {code}, {concurrency} at a time, beside another: {beside}")
        assert code in {KILLED, 0}
        if other is not None:
            settled(other)


def settled(other: Worker) -> None:
    """Let the other process run two whole cycles after the death, and end."""
    for word in (TELL, STOP):
        other.order(word)
        for told in other.hears():
            assert_good(told)
    assert other.ended() == 0
