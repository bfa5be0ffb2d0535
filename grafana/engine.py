"""The daemon and its engine: loops, cycles, planning, memory, process, control, integrations."""

from __future__ import annotations

from typing import Final

from grafana.boards import DAEMON, Board, Row
from grafana.overview import increase_by, quantiles, rate_by
from grafana.panels import BAD, CALM, GOOD, WARN, Panel, Query

LIFE: Final = Row(
    "Life",
    (
        Panel(
            "State of the service",
            "starting, running, draining, stopped.",
            (Query(f"max by (state) (deltakeep_lifecycle_state{{{DAEMON}}})", "{{state}}"),),
            kind="states",
            width=8,
        ),
        Panel(
            "Since each loop last turned",
            "Loops that wait for events may stand still; schedule and housekeeping turn about once a minute.",
            (
                Query(
                    f"time() - max by (instance, loop) (deltakeep_last_tick_timestamp_seconds{{{DAEMON}}} > 0)",
                    "{{loop}} {{instance}}",
                ),
            ),
            unit="s",
            steps=((None, GOOD), (600, BAD)),
        ),
        Panel(
            "Definitions in use are those on disk",
            "0 while the files are broken and the old definitions stay.",
            (Query(f"deltakeep_config_last_reload_successful{{{DAEMON}}}", "{{instance}}"),),
            unit="none",
            width=4,
        ),
        Panel(
            "Reloads",
            "Definitions read again, by result.",
            (increase_by("deltakeep_config_reloads_total", "result"),),
            kind="bars",
            width=4,
            colours=(("failed", BAD), ("changed", CALM), ("unchanged", GOOD)),
        ),
    ),
)

CYCLES: Final = Row(
    "Cycles",
    (
        Panel(
            "Cycles",
            "One pass over views that belong together, by what started it.",
            (increase_by("deltakeep_cycles_total", "cause", "result"),),
            kind="bars",
        ),
        Panel(
            "Time of a cycle",
            "Looks and commits included.",
            quantiles("deltakeep_cycle_duration_seconds"),
            unit="s",
        ),
        Panel(
            "Time of a refresh",
            "By strategy, over all views.",
            quantiles("deltakeep_refresh_duration_seconds", "strategy"),
            unit="s",
        ),
        Panel(
            "Waiting",
            "Views that are due, and calls in front of the engine's thread.",
            (Query(f"sum by (queue) (deltakeep_queue_length{{{DAEMON}}})", "{{queue}}"),),
        ),
        Panel(
            "Time that calls waited",
            "For the one thread that uses the engine; people go before looks, looks before cycles.",
            quantiles("deltakeep_queue_wait_seconds"),
            unit="s",
        ),
        Panel(
            "Engine busy",
            "Share of time in which the engine worked, and threads that use it.",
            (
                Query(f"avg(avg_over_time(deltakeep_workers_busy{{{DAEMON}}}[$__rate_interval]))", "busy"),
                Query(f"max(deltakeep_workers{{{DAEMON}}})", "threads"),
            ),
            unit="none",
            width=4,
            dashed=("threads",),
        ),
        Panel(
            "Age of the work in hand",
            "0 while the engine is idle.",
            (
                Query(
                    f"(time() - deltakeep_work_started_timestamp_seconds{{{DAEMON}}}) "
                    f"* (deltakeep_work_started_timestamp_seconds{{{DAEMON}}} > bool 0)",
                    "{{instance}}",
                ),
            ),
            unit="s",
            width=4,
            steps=((None, GOOD), (3600, WARN)),
        ),
    ),
)

PLANNING: Final = Row(
    "Planning",
    (
        Panel(
            "Plans made and plans used again",
            "At each compilation of the definitions; only views whose compile key moved are planned anew.",
            (increase_by("deltakeep_plans_total", "result"),),
            kind="bars",
            colours=(("reused", GOOD), ("planned", CALM), ("failed", BAD)),
        ),
        Panel(
            "Time of planning",
            "compile is one compilation of all definitions, decide one decision about one view.",
            quantiles("deltakeep_plan_duration_seconds", "phase"),
            unit="s",
        ),
        Panel(
            "Plans that took the place of another",
            "fell_back to a recompute, planned_again on newer facts, or after a lost commit.",
            (increase_by("deltakeep_retries_total", "cause"),),
            kind="bars",
        ),
    ),
)

RESOURCES: Final = Row(
    "Memory and process",
    (
        Panel(
            "Memory pool",
            "What refreshes and queries hold of the engine's pool; beyond it they spill to disk.",
            (
                Query(f"sum(deltakeep_memory_pool_reserved_bytes{{{DAEMON}}})", "reserved"),
                Query(f"sum(deltakeep_memory_pool_limit_bytes{{{DAEMON}}})", "limit"),
            ),
            unit="bytes",
            dashed=("limit",),
            colours=(("limit", BAD),),
            width=6,
        ),
        Panel(
            "Spilled to disk",
            "What refreshes and queries have on disk because it does not fit into the pool.",
            (Query(f"sum(deltakeep_spill_bytes{{{DAEMON}}})", "bytes"),),
            unit="bytes",
            width=6,
        ),
        Panel(
            "Spill files",
            "The files that this is in; many small ones cost more than few large ones.",
            (Query(f"sum(deltakeep_spill_files{{{DAEMON}}})", "files"),),
            width=6,
        ),
        Panel(
            "Memory of the process",
            "The pool is not all that the process needs.",
            (Query(f"process_resident_memory_bytes{{{DAEMON}}}", "{{instance}}"),),
            unit="bytes",
            width=6,
        ),
        Panel(
            "CPU",
            "Cores in use.",
            (Query(f"rate(process_cpu_seconds_total{{{DAEMON}}}[$__rate_interval])", "{{instance}}"),),
            unit="none",
            width=6,
        ),
        Panel(
            "Open files",
            "Beyond the limit looks and refreshes fail.",
            (
                Query(f"process_open_fds{{{DAEMON}}}", "{{instance}}"),
                Query(f"min(process_max_fds{{{DAEMON}}})", "limit"),
            ),
            dashed=("limit",),
            colours=(("limit", BAD),),
            width=6,
        ),
        Panel(
            "Garbage collections",
            "Of the Python side, by generation.",
            (rate_by("python_gc_collections_total", "generation"),),
            unit="ops",
            width=6,
        ),
        Panel(
            "Series",
            "How many series a scrape brings; a thousand views stay below 50,000.",
            (Query(f"scrape_samples_scraped{{{DAEMON}}}", "{{instance}}"),),
            steps=((None, GOOD), (50_000, WARN)),
            width=6,
        ),
    ),
)

CONTROL: Final = Row(
    "Control and log",
    (
        Panel(
            "Requests on the control socket",
            "By operation and result.",
            (increase_by("deltakeep_control_requests_total", "operation", "result"),),
            kind="bars",
        ),
        Panel(
            "Time of a request",
            "Including the time that it waits for the engine.",
            quantiles("deltakeep_control_request_duration_seconds"),
            unit="s",
        ),
        Panel(
            "Log lines",
            "By level; the journal has the lines.",
            (increase_by("deltakeep_log_messages_total", "level"),),
            kind="bars",
            colours=(("info", GOOD), ("warning", WARN), ("error", BAD), ("critical", "dark-red")),
        ),
    ),
)

OUTLETS: Final = Row(
    "Integrations",
    (
        Panel(
            "Notifications",
            "By receiver: ok, failed after all tries, dropped since too many were waiting.",
            (increase_by("deltakeep_notifications_total", "target", "result"),),
            kind="bars",
        ),
        Panel(
            "Lineage events",
            "OpenLineage events by what became of them.",
            (increase_by("deltakeep_lineage_events_total", "result"),),
            kind="bars",
            colours=(("ok", GOOD), ("failed", BAD), ("dropped", WARN)),
        ),
        Panel(
            "Traces",
            "Traces of cycles by what became of them.",
            (increase_by("deltakeep_traces_total", "result"),),
            kind="bars",
            colours=(("ok", GOOD), ("failed", BAD), ("dropped", WARN)),
        ),
    ),
)

ENGINE: Final = Board(
    "deltakeep-engine",
    "Deltakeep: engine",
    "The daemon itself: loops, cycles, planning, memory, process, control, integrations.",
    (LIFE, CYCLES, PLANNING, RESOURCES, CONTROL, OUTLETS),
)
