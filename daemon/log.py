"""Structured logs: lines for a person on a terminal, JSON everywhere else, and never a secret.

Events are short nouns and verbs (`refresh finished`); everything variable is a field.
The level can be changed while the process runs, and the last lines are kept in a ring for the support bundle.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TextIO

import structlog

from daemon.clock import Clock, timestamp_text
from registry.errors import DeltakeepError
from registry.secrets import HIDDEN, masked_values

LogStyle = Literal["auto", "json", "console"]
LOG_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
DEFAULT_LEVEL: Final = "info"
RING_LINES: Final = 1_000
RING_LINE_MAX: Final = 8_192
"""Characters of one line that the ring keeps."""
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


class LogLevel:
    """The level from which on lines are written; it may be changed at any time, from any thread."""

    def __init__(self, name: str = DEFAULT_LEVEL) -> None:
        self._name = name if name in LOG_LEVELS else DEFAULT_LEVEL

    @property
    def name(self) -> str:
        """The level by its name."""
        return self._name

    def set(self, name: str) -> None:
        """Write lines of this level and worse from now on; what libraries tell stays at warnings but for `debug`."""
        self._name = name
        own = LOG_LEVELS[name]
        logging.getLogger().setLevel(logging.INFO if own == logging.DEBUG else max(own, logging.WARNING))

    def __call__(self, _logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Drop lines below the level, but for those that somebody asked for; a processor of structlog."""
        if fields.get("asked"):
            return fields
        if LOG_LEVELS.get("warning" if method == "warn" else method, logging.ERROR) < LOG_LEVELS[self._name]:
            raise structlog.DropEvent
        return fields


class LogRing:
    """The last lines that were written, as JSON texts without secrets; bounded in number and length."""

    def __init__(self, lines: int = RING_LINES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)

    def __call__(self, _logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Keep a line; a processor of structlog."""
        shown = {key: value for key, value in fields.items() if not key.startswith("_")}
        self._lines.append(json.dumps(shown, default=str, ensure_ascii=False)[:RING_LINE_MAX])
        return fields

    def lines(self) -> list[str]:
        """The lines, oldest first."""
        return list(self._lines)


@dataclass(frozen=True, slots=True)
class LogControl:
    """What can be asked of the log while the process runs."""

    level: LogLevel = field(default_factory=LogLevel)
    ring: LogRing = field(default_factory=LogRing)

    def change(self, name: str | None, told: structlog.typing.FilteringBoundLogger) -> dict[str, str]:
        """Set the level where one is given, and tell it in the log, at whichever of both levels shows it."""
        before = self.level.name
        if name is None or name == before:
            return {"level": before, "before": before}
        if name not in LOG_LEVELS:
            raise DeltakeepError("usage", f'"{name}" is no log level', hint=f"one of {', '.join(LOG_LEVELS)}")
        # A change is told while the louder of both levels is in force, or nobody would see it.
        self.level.set(min(name, before, key=lambda one: LOG_LEVELS[one]))
        told.warning("log level changed", before=before, after=name)
        self.level.set(name)
        return {"level": name, "before": before}


def configure_logging(
    clock: Clock,
    style: LogStyle = "auto",
    stream: TextIO | None = None,
    on_line: Callable[[str], None] | None = None,
    level: LogLevel | None = None,
    ring: LogRing | None = None,
) -> None:
    """Set up structlog, and route what libraries log (warnings and worse) the same way.

    `on_line` is told the level of each line, for the metrics; `level` and `ring` belong to the caller.
    """
    out = stream if stream is not None else sys.stderr
    as_json = style == "json" or (style == "auto" and not out.isatty())
    threshold = level or LogLevel()

    def stamp(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if on_line is not None:
            on_line("warning" if method == "warn" else method)
        fields["timestamp"] = timestamp_text(clock.now_ms())
        return fields

    # Masking comes last: the text of an exception is a field by then.
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        stamp,
        hide_secrets,
        structlog.processors.format_exc_info,
        mask_secrets,
        *([] if ring is None else [ring]),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[threshold, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
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
    threshold.set(threshold.name)
    # A poll that is still waiting when its next turn comes is normal during a long cycle, and no warning.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def mask_secrets(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secret values wherever they stand in a text; what is no JSON value is a text from here on."""
    plain = {key: value if key.startswith("_") else _plain(value) for key, value in fields.items()}
    found: MutableMapping[str, Any] = masked_values(plain)
    return found


def _plain(value: Any) -> Any:
    """JSON values: a path, an error and the like would show their texts after the masking."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry the part of the service that they come from."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(part=name)
    return bound
