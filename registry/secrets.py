"""Secret values that this process was given, and texts without them.

What was remembered here is in no text that went through `masked`: neither as it is, nor escaped for JSON, quoted for a
URL, or in base64 at whatever position.
Invariant: values come in and never go out; forgetting one needs another process.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "***"
LENGTH_MIN: Final = 6
"""Characters of the shortest value that is masked; a shorter one would be found in every other word."""
VALUES_MAX: Final = 1_000
_BASE64_LENGTH_MIN: Final = 8
# Options of stores that say where and how, and not who: people need to see them in messages.
_HARMLESS: Final = re.compile(
    r"(region|endpoint|url|bucket|bucket_name|container_name|account_name|allow_http|timeout|skip_signature"
    r"|virtual_hosted_style_request|conditional_put|copy_if_not_exists|imdsv1_fallback|pool_max_idle_per_host"
    r"|proxy_url|user_agent|max_retries|retry_timeout|use_emulator|request_payer|checksum_algorithm)$",
    re.IGNORECASE,
)

# Variables that stores and clients read by themselves; those that name a file or a folder hold no secret.
_SECRET_VARIABLE: Final = re.compile(
    r"(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|SAS_KEY|API_?KEY|ACCESS_KEY|ACCOUNT_KEY|CLIENT_KEY|MASTER_KEY)",
    re.IGNORECASE,
)
_PLACE_VARIABLE: Final = re.compile(r"(CREDENTIALS|_FILE|_DIRECTORY|_DIR|_PATH|_URI|_URL)$", re.IGNORECASE)

_lock = threading.Lock()
_values: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def remember(values: Iterable[str]) -> None:
    """Mask these values from now on; those that are too short to be told from words are left out."""
    global _pattern  # noqa: PLW0603 - a secret is one for the whole process, whoever prints
    with _lock:
        for value in values:
            if len(value) >= LENGTH_MIN and value not in _values and len(_values) < VALUES_MAX:
                _values[value] = None
                _pattern = None


def remember_options(options: Mapping[str, str], resolved: Iterable[str] = ()) -> None:
    """Mask the values of a store's options, but for those that only say where it is.

    `resolved` are keys whose value came from the environment: those are masked whatever they are called.
    """
    from_environment = set(resolved)
    remember(value for key, value in options.items() if key in from_environment or not _HARMLESS.search(key))


def remember_environment(environment: Mapping[str, str]) -> None:
    """Mask the values of variables whose name speaks of a secret: stores take them without being told."""
    remember(
        value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and not _PLACE_VARIABLE.search(name)
    )


def masked(text: str) -> str:
    """The text without any remembered value.

    >>> remember(["correct horse"])
    >>> masked("401 for correct%20horse, with Y29ycmVjdCBob3JzZQ==")
    '401 for ***, with ***'
    """
    if not _values:
        return text
    return _compiled().sub(HIDDEN, text)


def masked_values(value: Any) -> Any:
    """JSON values with every text masked, keys included."""
    if not _values:
        return value
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {masked_values(key): masked_values(item) for key, item in value.items()}
        case list() | tuple():
            return [masked_values(item) for item in value]
        case _:
            return value


def _compiled() -> re.Pattern[str]:
    """The pattern of all values, made when it is needed first after one has come."""
    global _pattern  # noqa: PLW0603
    with _lock:
        if _pattern is None:
            forms = {form for value in _values for form in _forms(value)}
            longest_first = sorted(forms, key=lambda form: (-len(form), form))
            _pattern = re.compile("|".join(map(re.escape, longest_first)))
        return _pattern


def _forms(value: str) -> Iterator[str]:
    """How a value may be written in a text."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    data = value.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield whole
        yield quote(whole, safe="")
        if len(data) < _BASE64_LENGTH_MIN:
            continue
        yield whole.rstrip("=")
        # Within other bytes, as in `user:password`, the value starts at one of three positions of a group.
        for before in range(3):
            inner = encode(bytes(before) + data).decode().rstrip("=")
            first = (before * 8 + 5) // 6
            last = (before + len(data)) * 8 // 6
            yield inner[first:last]
