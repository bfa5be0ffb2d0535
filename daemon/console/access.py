"""Who may come in: the checks on a request before its token is looked at.

Pure.  A page of another site must not reach the console through somebody's browser, neither by a name that it points
here (`Host`), nor by a request that it makes the browser send (`Origin`, `Sec-Fetch-Site`).  There are no cookies: a
request has the rights of the token that its script put into it, and a script of another site has none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daemon.console.settings import ConsoleSettings
from registry.errors import EXIT_NOT_ALLOWED, DeltakeepError

FORWARDED: Final = ("x-forwarded-for", "forwarded", "via", "x-real-ip")
"""Headers that a proxy adds; with them a loopback address tells nothing about who asks."""

FORWARDED_MAX: Final = 64
"""Characters of what a proxy says of a caller; the longest address has 45, and it is kept for every caller."""


class Refused(DeltakeepError):
    """The request does not come in; `status` is the HTTP status that says so, `wait_s` when to come again."""

    exit_code_of_class = EXIT_NOT_ALLOWED

    def __init__(self, code: str, message: str, hint: str = "", status: int = 403, wait_s: int = 0) -> None:
        super().__init__(code, message, hint=hint)
        self.status = status
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Asked:
    """What access looks at in a request; header names are in lower case."""

    peer: str
    method: str
    headers: Mapping[str, str]
    to_page: bool

    @property
    def address(self) -> str:
        """Whom requests are counted for: the peer, or a network of IPv6 that one caller may have for itself."""
        try:
            found = ipaddress.ip_address(self.peer)
        except ValueError:
            return self.peer
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found)


def seen_through_proxy(asked: Asked, settings: ConsoleSettings) -> Asked:
    """The request with the address that the configured proxy saw."""
    if not settings.behind_proxy:
        return asked
    last = asked.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return Asked(_forwarded(last) or asked.peer, asked.method, asked.headers, asked.to_page)


def _forwarded(entry: str) -> str:
    """The address in an entry of `X-Forwarded-For`, which some proxies write with a port; other words are cut short."""
    if _is_address(entry):
        return entry
    name = _host_name(entry)
    return name if _is_address(name) else entry[:FORWARDED_MAX]


def is_free(asked: Asked, settings: ConsoleSettings) -> bool:
    """Whether reading needs no token: the request was made on this machine and no proxy passed it on."""
    forwarded = any(header in asked.headers for header in FORWARDED)
    return is_loopback(asked.peer) and not forwarded and not settings.behind_proxy


def is_loopback(peer: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check(asked: Asked, settings: ConsoleSettings) -> None:
    """Raise `Refused` for a request that must not come in, whatever token it carries."""
    if not (settings.encrypts or settings.behind_proxy or is_loopback(asked.peer)):
        hint = "set [daemon] tls_certificate and tls_key, or behind_proxy where a proxy encrypts"
        raise Refused("not_encrypted", "the console answers other machines over TLS only", hint)
    _check_host(asked.headers.get("host", ""), settings)
    _check_site(asked)


def _check_host(host: str, settings: ConsoleSettings) -> None:
    name = _host_name(host)
    if name == "localhost" or name in settings.hosts or _is_address(name):
        return
    hint = f'add it to [daemon] hosts, as in hosts = ["{name}"]' if name.isascii() and name.isprintable() else ""
    raise Refused("wrong_host", f"the console is not known as {name!r}", hint, 421)


def _check_site(asked: Asked) -> None:
    site = asked.headers.get("sec-fetch-site", "none")
    navigates = asked.to_page and asked.method == "GET" and asked.headers.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not navigates:
        raise Refused("other_origin", "a page of another site asked for this")
    origin = asked.headers.get("origin")
    if origin is None:
        return
    _, separator, netloc = origin.partition("://")
    if not separator or netloc.lower() != asked.headers.get("host", "").lower():
        raise Refused("other_origin", "a page of another site asked for this")


def _host_name(host: str) -> str:
    """The name without the port; an address of IPv6 without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    """An address cannot be pointed somewhere else, as a name can."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
