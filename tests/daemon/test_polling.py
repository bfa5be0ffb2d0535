"""The timetable of looks and chores: how often, with which jitter, one job for each interval."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Final

from daemon.polling import JITTER_SHARE, Polling

LOOKS: Final = 200


async def nothing() -> None:
    """Do nothing."""


def in_a_loop(scenario: Callable[[Polling], None]) -> None:
    """Give a timetable in a running event loop; its jobs are further away than the test is long."""

    async def run() -> None:
        async def poll(datasets: tuple[str, ...]) -> None:
            """Look at nothing."""

        polling = Polling(poll, [("housekeeping", nothing, 3_600.0)])
        polling.start()
        try:
            scenario(polling)
        finally:
            polling.stop()

    asyncio.run(run())


def test_datasets_of_one_interval_share_a_job_and_chores_have_their_own() -> None:
    def scenario(polling: Polling) -> None:
        polling.plan({60_000: ("orders", "planes"), 3_600_000: ("archive",)})
        jobs = {job.id: (job.args, job.trigger.interval) for job in polling._scheduler.get_jobs()}
        assert jobs == {
            "poll-60000": ((("orders", "planes"),), dt.timedelta(minutes=1)),
            "poll-3600000": ((("archive",),), dt.timedelta(hours=1)),
            "housekeeping": ((), dt.timedelta(hours=1)),
        }
        polling.plan({90_000: ("orders",)})
        assert {job.id for job in polling._scheduler.get_jobs()} == {"poll-90000", "housekeeping"}

    in_a_loop(scenario)


def test_looks_come_with_jitter_so_that_many_daemons_do_not_look_at_once() -> None:
    def scenario(polling: Polling) -> None:
        polling.plan({60_000: ("orders",)})
        at = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
        for job in polling._scheduler.get_jobs():
            seconds = job.trigger.interval.total_seconds()
            pauses = {(job.trigger.get_next_fire_time(at, at) - at).total_seconds() for _ in range(LOOKS)}
            assert len(pauses) > LOOKS // 2, f"{job.id} comes at the same times everywhere"
            assert all(abs(pause - seconds) <= JITTER_SHARE * seconds for pause in pauses)
            assert (job.max_instances, job.coalesce) == (1, True)

    in_a_loop(scenario)
