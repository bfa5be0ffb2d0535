"""Events for watchers: the last ones first, then as they come, and nobody is held up."""

from __future__ import annotations

import asyncio

from daemon.event_stream import KEPT_MAX, WAITING_MAX, WATCHERS_MAX, EventStream
from tests.daemon.fakes import ManualClock


def test_a_watcher_gets_what_was_kept_and_then_what_comes() -> None:
    async def scenario() -> None:
        stream = EventStream(ManualClock())
        for number in range(KEPT_MAX + 5):
            stream.publish({"kind": "x", "n": number})
        watching = stream.watch(KEPT_MAX, 5.0)
        assert [one.number for one in await anext(watching)] == [KEPT_MAX + offset for offset in range(1, 6)]
        stream.publish({"kind": "y"})
        assert [one.event["kind"] for one in await anext(watching)] == ["y"]
        await watching.aclose()  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_what_an_idle_daemon_tells_displaces_nothing() -> None:
    stream = EventStream(ManualClock())
    stream.publish({"kind": "requested"})
    for _ in range(KEPT_MAX + 5):
        stream.publish({"kind": "view_skipped"})
    assert [one.event["kind"] for one in stream.kept()] == ["requested"]
    assert stream.number == KEPT_MAX + 6


def test_a_number_of_an_earlier_process_gets_everything() -> None:
    async def scenario() -> None:
        stream = EventStream(ManualClock())
        stream.publish({"kind": "x"})
        assert len(await anext(stream.watch(5_000, 5.0))) == 1

    asyncio.run(scenario())


def test_a_slow_watcher_misses_the_oldest_and_idle_time_gives_an_empty_batch() -> None:
    async def scenario() -> None:
        stream = EventStream(ManualClock())
        watching = stream.watch(0, 0.01)
        assert await anext(watching) == []
        for number in range(WAITING_MAX + 7):
            stream.publish({"kind": "x", "n": number})
        batch = await anext(watching)
        assert (len(batch), batch[0].number) == (WAITING_MAX, 8)
        assert await anext(watching) == ()

    asyncio.run(scenario())


def test_closing_lets_watchers_go_and_their_number_is_bounded() -> None:
    async def scenario() -> None:
        stream = EventStream(ManualClock())
        watching = [stream.watch(0, 60.0) for _ in range(WATCHERS_MAX)]
        for one in watching:
            await anext(one)
        assert stream.full
        waiting = [asyncio.ensure_future(anext(one)) for one in watching]
        await asyncio.sleep(0)
        stream.close()
        assert await asyncio.gather(*waiting) == [()] * WATCHERS_MAX
        for one in watching:
            assert [batch async for batch in one] == []
        assert not stream.full

    asyncio.run(scenario())
