from __future__ import annotations

import itertools

from daemon.lifecycle import (
    CancelWork,
    Draining,
    Event,
    Leave,
    Opened,
    OpenFailed,
    ReloadAsked,
    ReloadDefinitions,
    Running,
    Starting,
    StartLoops,
    State,
    StopAsked,
    StopLoops,
    Stopped,
    Ticked,
    WorkDone,
    state_name,
    transition,
)

EVENTS: tuple[Event, ...] = (
    Opened(),
    OpenFailed(78),
    StopAsked(1_000),
    ReloadAsked(),
    WorkDone(),
    Ticked(2_000),
    Ticked(99_000),
)


def follow(state: State, events: tuple[Event, ...]) -> tuple[State, list[object]]:
    done: list[object] = []
    for event in events:
        state, actions = transition(state, event)
        done += actions
    return state, done


def test_a_normal_life_starts_reloads_drains_and_leaves_with_zero() -> None:
    state, done = follow(Starting(), (Opened(), ReloadAsked(), StopAsked(0), WorkDone()))
    assert state == Stopped(0)
    assert done == [StartLoops(), ReloadDefinitions(), StopLoops(), Leave(0)]


def test_a_broken_configuration_ends_with_its_code() -> None:
    assert follow(Starting(), (OpenFailed(78),)) == (Stopped(78), [Leave(78)])


def test_draining_gives_up_at_its_deadline_and_calls_that_success() -> None:
    state, done = follow(Running(), (StopAsked(0), Ticked(29_999)))
    assert isinstance(state, Draining)
    state, done = follow(state, (Ticked(30_000),))
    assert (state, done) == (Stopped(0), [CancelWork(), Leave(0)])


def test_a_second_stop_cancels_and_leaves_at_once() -> None:
    assert follow(Running(), (StopAsked(0), StopAsked(10))) == (Stopped(130), [StopLoops(), CancelWork(), Leave(130)])


def test_every_sequence_of_five_events_leaves_at_most_once_and_stopped_is_final() -> None:
    for events in itertools.product(EVENTS, repeat=5):
        state, done = follow(Starting(), events)
        leaves = [action for action in done if isinstance(action, Leave)]
        assert len(leaves) == (1 if isinstance(state, Stopped) else 0)
        if isinstance(state, Stopped):
            assert done[-1] == leaves[0]
            assert leaves[0].exit_code == state.exit_code
        assert state_name(state) in {"starting", "running", "draining", "stopped"}
