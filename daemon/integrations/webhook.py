"""Notifications by webhook: a CloudEvents body, a signature, a few tries.

The signature is `t=SECONDS,v1=HEX`: HMAC-SHA256 with the webhook's secret over the seconds, a dot, and the body.
Whoever receives it computes the same and refuses what is older than some minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import stamina

from daemon.clock import Clock, timestamp_text
from daemon.integrations.background import Background, Undelivered
from daemon.integrations.happenings import Happening
from daemon.integrations.incidents import Incidents, Notification
from registry.integrations import WebhookSettings
from registry.secrets import masked_values

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SIGNATURE_HEADER: Final = "Deltakeep-Signature"
ATTEMPTS: Final = 5
RETRY_TIMEOUT_S: Final = 60.0
FIRST_WAIT_S: Final = 0.5
_AGAIN: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

Post = Callable[[WebhookSettings, bytes, dict[str, str]], None]


class TryAgain(Exception):
    """The receiver was not ready; the same request may succeed later."""


class Webhook:
    """One webhook: decides what it is to be told, and delivers it in its own thread."""

    def __init__(
        self,
        settings: WebhookSettings,
        project: str,
        clock: Clock,
        on_result: Callable[[str], None],
        post: Post | None = None,
    ) -> None:
        """`post` is how a body gets to the receiver: by HTTP."""
        self._settings = settings
        self._project = project
        self._clock = clock
        self._post = post or post_over_http
        self._incidents = Incidents()
        self._background: Background[Notification] = Background(settings.name, self._deliver, on_result)

    def take(self, happening: Happening) -> None:
        """Notice what happened; used by one thread at a time."""
        self._incidents, told = self._incidents.noticed(happening)
        for notification in told:
            if self._wanted(notification):
                self._background.give(notification)

    def close(self) -> None:
        """Deliver what waits, briefly."""
        self._background.close()

    def _wanted(self, notification: Notification) -> bool:
        incident, settings = notification.incident, self._settings
        about_us = not settings.views or not incident.subject or incident.subject in settings.views
        return incident.kind in settings.notifications and about_us

    def _deliver(self, notification: Notification) -> None:
        body = json.dumps(cloud_event(notification, self._project), ensure_ascii=False).encode()
        headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "deltakeep", **self._settings.headers}
        if self._settings.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._settings.secret, body, self._clock.now_ms() // 1000)

        def worth_it(error: Exception) -> bool:
            return isinstance(error, TryAgain) and not self._background.closing

        for attempt in stamina.retry_context(
            on=worth_it, attempts=ATTEMPTS, timeout=RETRY_TIMEOUT_S, wait_initial=FIRST_WAIT_S, wait_max=10.0
        ):
            with attempt:
                self._post(self._settings, body, headers)


def cloud_event(notification: Notification, project: str) -> dict[str, Any]:
    """The notification as a CloudEvent (https://cloudevents.io, version 1.0, structured mode)."""
    incident, ended_ms = notification.incident, notification.ended_ms
    about = "project" if incident.kind == "reload_failed" else "view"
    event = {
        "specversion": "1.0",
        "id": f"{incident.id}/{'begin' if ended_ms is None else 'end'}",
        "source": f"urn:deltakeep:{project}",
        "type": f"deltakeep.{about}.{notification.word}",
        "time": timestamp_text(incident.since_ms if ended_ms is None else ended_ms),
        "datacontenttype": "application/json",
        "data": {
            "incident": incident.id,
            "project": project,
            "view": incident.subject or None,
            "since": timestamp_text(incident.since_ms),
            "ended": None if ended_ms is None else timestamp_text(ended_ms),
            "reason": incident.reason,
            "message": incident.message,
            "hint": incident.hint,
        },
    }
    if incident.subject:
        event["subject"] = incident.subject
    hidden: dict[str, Any] = masked_values(event)
    return hidden


def signature(secret: str, body: bytes, at_s: int) -> str:
    """What proves that a body is ours and fresh."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook has one address: what it is redirected to was not agreed upon."""

    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


def post_over_http(settings: WebhookSettings, body: bytes, headers: dict[str, str]) -> None:
    """Post once; raises `TryAgain` where another try makes sense, `Undelivered` where it does not."""
    request = urllib.request.Request(settings.url, body, headers, method="POST")  # noqa: S310 - http and https only
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=settings.timeout_ms / 1000) as response:
            response.read(1_024)
    except urllib.error.HTTPError as error:
        with error:
            again = error.code in _AGAIN or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise (TryAgain if again else Undelivered)(f"the receiver answered {error.code}") from None
    except urllib.error.URLError as error:
        raise TryAgain(f"the receiver cannot be reached: {error.reason}") from None
    except OSError as error:
        raise TryAgain(f"the receiver did not answer: {type(error).__name__}") from None
