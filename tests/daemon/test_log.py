from __future__ import annotations

import io
import json
import logging

from daemon.log import LogStyle, configure_logging, logger
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
