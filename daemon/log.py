"""Structured logs: lines for a person on a terminal, JSON everywhere else, and never a secret.

Events are short nouns and verbs (`refresh finished`); everything variable is a field.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from daemon.clock import Clock, timestamp_text

LogStyle = Literal["auto", "json", "console"]
HIDDEN = "***"
_SECRET_WORDS = ("secret", "token", "password", "credential", "access_key", "account_key", "sas_", "signature")
_DEPTH_MAX = 8


def hide_secrets(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values whose key speaks of a secret, and the values of storage options, at any depth."""
    return {key: _hidden(key, value, 0) for key, value in fields.items()}


def _hidden(key: str, value: Any, depth: int) -> Any:
    lowered = key.lower()
    if any(word in lowered for word in _SECRET_WORDS):
        return HIDDEN
    if lowered in {"options", "storage_options"} and isinstance(value, Mapping):
        return dict.fromkeys(value, HIDDEN)
    if depth >= _DEPTH_MAX:
        return value
    if isinstance(value, Mapping):
        return {inner: _hidden(str(inner), item, depth + 1) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", item, depth + 1) for item in value]
    return value


def configure_logging(
    clock: Clock,
    style: LogStyle = "auto",
    stream: TextIO | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Set up structlog, and route what libraries log (warnings and worse) the same way.

    `on_line` is told the level of each line, for the metrics.
    """
    out = stream if stream is not None else sys.stderr
    as_json = style == "json" or (style == "auto" and not out.isatty())

    def stamp(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if on_line is not None:
            on_line("warning" if method == "warn" else method)
        fields["timestamp"] = timestamp_text(clock.now_ms())
        return fields

    shared: list[Any] = [structlog.stdlib.add_log_level, stamp, hide_secrets, structlog.processors.format_exc_info]
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # A poll that is still waiting when its next turn comes is normal during a long cycle, and no warning.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry the part of the service that they come from."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(part=name)
    return bound
