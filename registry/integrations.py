"""What `deltakeep.toml` says about telling others: webhooks, lineage, tracing; all off where it says nothing.

Values that may be secret appear in no `repr`, and are remembered so that no text shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from registry import toml_document as toml
from registry.location import environment_value
from registry.secrets import remember
from registry.toml_document import Parser, Section, Unexpected

NOTIFICATIONS: Final = ("failed", "late", "reload_failed")
TRANSPORTS: Final = ("http", "file", "console")
EXPORTERS: Final = ("otlp", "console")
SECRET_LENGTH_MIN: Final = 16
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where notifications go: `notifications` are the kinds wanted, `views` those that they are about (none: all)."""

    name: str
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    notifications: tuple[str, ...] = NOTIFICATIONS
    views: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class LineageSettings:
    """Where OpenLineage events go: `url` for http, `file` for file."""

    transport: str
    namespace: str
    url: str = field(default="", repr=False)
    api_key: str | None = field(default=None, repr=False)
    file: Path | None = None
    timeout_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go: `url` is that of an OTLP receiver over HTTP, with `/v1/traces`."""

    exporter: str
    service: str
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class IntegrationSettings:
    """Everything that is told to others."""

    webhooks: tuple[WebhookSettings, ...] = ()
    lineage: LineageSettings | None = None
    tracing: TracingSettings | None = None


def read_integrations(document: Section, root: Path, environment: Mapping[str, str]) -> IntegrationSettings:
    """Read `[notifications.NAME]`, `[lineage]` and `[tracing]`; what is wrong becomes problems of the document."""
    webhooks = []
    for name, section in document.section("notifications").sections():
        webhook = _webhook(name, section, environment)
        webhooks += [] if webhook is None else [webhook]
    return IntegrationSettings(
        tuple(webhooks),
        _lineage(document.section("lineage"), root, environment),
        _tracing(document.section("tracing"), environment),
    )


def _webhook(name: str, section: Section, environment: Mapping[str, str]) -> WebhookSettings | None:
    url = section.require("url", _address(environment), "the address to post to", 'url = "https://example.org/hook"')
    webhook = WebhookSettings(
        name=name,
        url=url or "",
        secret=section.take("secret", _secret(environment), None),
        notifications=section.take("notifications", _notifications, NOTIFICATIONS),
        views=section.take("views", toml.texts, tuple[str, ...]()),
        headers=section.take("headers", _headers(environment), {}),
        timeout_ms=section.take("timeout", toml.duration_ms, 5_000),
    )
    section.finish()
    return None if url is None else webhook


def _lineage(section: Section, root: Path, environment: Mapping[str, str]) -> LineageSettings | None:
    transport = section.take("transport", _one_of(TRANSPORTS), None)
    url = section.take("url", _address(environment), None)
    file = section.take("file", _text_or_none, None)
    lineage = LineageSettings(
        transport=transport or "",
        namespace=section.take("namespace", toml.text, "deltakeep"),
        url=url or "",
        api_key=section.take("api_key", _value(environment), None),
        file=None if file is None else root / Path(file).expanduser(),
        timeout_ms=section.take("timeout", toml.duration_ms, 5_000),
    )
    section.finish()
    needed = {"http": "url", "file": "file"}.get(transport or "")
    if needed is not None and needed not in section.values:
        section.report("transport", f'"lineage.transport" is "{transport}"', f'a "{needed}" beside it')
    if transport is None and section.values and "transport" not in section.values:
        section.report("transport", '"lineage.transport" is missing', f"one of {', '.join(TRANSPORTS)}")
    return None if transport is None else lineage


def _tracing(section: Section, environment: Mapping[str, str]) -> TracingSettings | None:
    exporter = section.take("exporter", _one_of(EXPORTERS), None)
    url = section.take("url", _address(environment), None)
    tracing = TracingSettings(
        exporter=exporter or "",
        service=section.take("service", toml.text, "deltakeep"),
        url=url or "http://127.0.0.1:4318/v1/traces",
        headers=section.take("headers", _headers(environment), {}),
        timeout_ms=section.take("timeout", toml.duration_ms, 5_000),
    )
    section.finish()
    if exporter is None and section.values and "exporter" not in section.values:
        section.report("exporter", '"tracing.exporter" is missing', f"one of {', '.join(EXPORTERS)}")
    return None if exporter is None else tracing


# --- parsers ----------------------------------------------------------------------------------------------------------


def _value(environment: Mapping[str, str]) -> Parser[str | None]:
    """A text, or `env:NAME`; remembered as a secret before anything can be wrong with it."""

    def parse(value: object) -> str | None:
        text = toml.text(value)
        remember([text])
        found = environment_value(text, environment)
        remember([found])
        return found

    return parse


def _secret(environment: Mapping[str, str]) -> Parser[str | None]:
    def parse(value: object) -> str | None:
        found = _value(environment)(value)
        if found is None or len(found) < SECRET_LENGTH_MIN:
            hint = "make one with `openssl rand -hex 32`"
            raise Unexpected(f'at least {SECRET_LENGTH_MIN} characters, or "env:NAME"', hint)
        return found

    return parse


def _address(environment: Mapping[str, str]) -> Parser[str | None]:
    """An http address; what comes after the host may let everybody in who knows it, so it is taken for a secret."""

    def parse(value: object) -> str | None:
        text = toml.text(value)
        found = environment_value(text, environment)
        try:
            parts = urlsplit(found)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            parts, good = urlsplit(""), False
        if not good or found != text:
            remember([found])
        if not good:
            raise Unexpected('an address such as "https://example.org/hook", or "env:NAME"')
        # A path of one word, such as `/hook`, is none.
        told = (parts.path.strip("/"), parts.query)
        remember([*(part for part in told if "/" in part or "=" in part), parts.password or ""])
        return found

    return parse


def _headers(environment: Mapping[str, str]) -> Parser[dict[str, str]]:
    def parse(value: object) -> dict[str, str]:
        found = {name: environment_value(text, environment) for name, text in toml.text_map(value).items()}
        remember(found.values())
        for name, text in found.items():
            if not _HEADER.fullmatch(name) or not text.isprintable():
                raise Unexpected("names of headers with their texts", 'such as { Authorization = "env:TOKEN" }')
        return found

    return parse


def _notifications(value: object) -> tuple[str, ...]:
    found = toml.texts(value)
    wrong = [one for one in found if one not in NOTIFICATIONS]
    if wrong or not found:
        raise Unexpected(f"some of {', '.join(NOTIFICATIONS)}")
    return found


def _one_of(choices: tuple[str, ...]) -> Parser[str | None]:
    def parse(value: object) -> str | None:
        if value in choices:
            return str(value)
        raise Unexpected("one of " + ", ".join(f'"{one}"' for one in choices))

    return parse


def _text_or_none(value: object) -> str | None:
    return toml.text(value)
