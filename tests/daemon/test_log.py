from __future__ import annotations

import io
import json
import logging
from pathlib import Path

from daemon.log import RING_LINE_MAX, LogLevel, LogRing, LogStyle, configure_logging, logger
from registry.secrets import remember
from tests.daemon.fakes import ManualClock


def logged(style: LogStyle = "json") -> tuple[io.StringIO, list[str]]:
    stream = io.StringIO()
    levels: list[str] = []
    configure_logging(ManualClock(0), style, stream, levels.append)
    return stream, levels


def test_lines_are_json_off_a_terminal_with_the_clock_that_was_handed_in() -> None:
    stream, levels = logged("auto")
    logger("test").info("refreshed", view="clean", rows=3)
    assert json.loads(stream.getvalue()) == {
        "part": "test",
        "view": "clean",
        "rows": 3,
        "event": "refreshed",
        "level": "info",
        "timestamp": "1970-01-01T00:00:00.000Z",
    }
    assert levels == ["info"]


def test_no_secret_reaches_a_line_at_any_depth() -> None:
    styles: tuple[LogStyle, ...] = ("json", "console")
    for style in styles:
        stream, _ = logged(style)
        logger("test").warning(
            "opening",
            storage_options={"aws_region": "canary-1"},
            table={"uri": "s3://b", "options": {"x": "canary-2"}, "deep": [{"secret_access_key": "canary-3"}]},
            token="canary-4",
        )
        assert "canary" not in stream.getvalue()
        assert "s3://b" in stream.getvalue()


def test_what_libraries_warn_about_comes_out_the_same_way() -> None:
    stream, levels = logged()
    logging.getLogger("somebody").warning("odd %s", "thing")
    logging.getLogger("somebody").info("chatter")
    assert json.loads(stream.getvalue())["event"] == "odd thing"
    assert levels == ["warning"]


def test_a_secret_value_reaches_no_line_whoever_logs_it_and_under_whatever_key() -> None:
    remember(["canary value of a log"])
    styles: tuple[LogStyle, ...] = ("json", "console")
    for style in styles:
        ring, stream = LogRing(), io.StringIO()
        configure_logging(ManualClock(0), style, stream, ring=ring)
        error = ValueError("no canary value of a log")
        quoted = "canary%20value%20of%20a%20log"
        logger("test").error("failed", exc_info=error, message=quoted, deep=[{"x": ("canary value of a log",)}])
        logging.getLogger("somebody").warning("odd canary value of a log")
        # What is no JSON value shows its text too: in the line, on a terminal, and in the lines that are kept.
        place = Path("/lake/canary value of a log/orders")
        logger("test").info("elsewhere", place=place, error=error, places={place}, by={place: [place]})
        assert "canary" not in stream.getvalue() + "".join(ring.lines())
        assert "ValueError" in stream.getvalue()
        assert "/lake/***/orders" in stream.getvalue()


def test_the_level_changes_while_it_runs_and_what_was_asked_for_is_always_shown() -> None:
    stream, levels = io.StringIO(), LogLevel("warning")
    configure_logging(ManualClock(0), "json", stream, level=levels)
    logger("test").info("quiet")
    logger("test").info("state", asked=True)
    levels.set("debug")
    logger("test").debug("chatter")
    logging.getLogger("somebody").info("chatter of others")
    levels.set("error")
    logger("test").warning("quiet again")
    logging.getLogger("somebody").warning("quiet too")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "state",
        "chatter",
        "chatter of others",
    ]


def test_the_ring_is_bounded_in_lines_and_in_their_length() -> None:
    ring = LogRing(3)
    configure_logging(ManualClock(0), "json", io.StringIO(), ring=ring)
    for number in range(5):
        logger("test").info(f"line {number}", text="x" * 50_000)
    assert [line[:19] for line in ring.lines()] == ['{"part": "test", "t'] * 3
    assert max(len(line) for line in ring.lines()) == RING_LINE_MAX
