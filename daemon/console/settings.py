"""What `[daemon]` says about the console: its tokens, its names, TLS or a proxy; light enough for a start.

Invariant: a value of the wrong type stops the start; nothing that guards the console is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.place import PROJECT_FILE
from registry.errors import DefinitionError, Problem

DEFAULT_TOKENS: Final = "state/tokens.json"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """`hosts` are names under which the console is reached beside addresses and `localhost`.

    `behind_proxy` says that a proxy encrypts, and that the address of a caller is the last one in `X-Forwarded-For`.
    """

    tokens: Path
    hosts: frozenset[str] = frozenset()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False

    @property
    def encrypts(self) -> bool:
        """Whether the daemon itself speaks TLS."""
        return self.tls_certificate is not None


def tokens_path(root: Path, settings: Mapping[str, Any]) -> Path:
    """Where the tokens of a project are."""
    return root / Path(_value(settings, "tokens", str, DEFAULT_TOKENS)).expanduser()


def console_settings(root: Path, settings: Mapping[str, Any]) -> ConsoleSettings | None:
    """The console of a project, or None where it is switched off; raises `DefinitionError`."""
    if not _value(settings, "console", bool, True):
        return None
    hosts = _value(settings, "hosts", list, [])
    if not all(isinstance(host, str) for host in hosts):
        raise _wrong("hosts", hosts, "a list of names")
    certificate, key = (_path(root, settings, name) for name in ("tls_certificate", "tls_key"))
    if (certificate is None) != (key is None):
        missing = "tls_key" if key is None else "tls_certificate"
        raise _wrong(missing, None, "both tls_certificate and tls_key, or none of them")
    return ConsoleSettings(
        tokens=tokens_path(root, settings),
        hosts=frozenset(host.lower() for host in hosts),
        tls_certificate=certificate,
        tls_key=key,
        behind_proxy=_value(settings, "behind_proxy", bool, False),
    )


def _path(root: Path, settings: Mapping[str, Any], name: str) -> Path | None:
    given = _value(settings, name, str, "")
    return root / Path(given).expanduser() if given else None


def _value(settings: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    given = settings.get(name, default)
    if not isinstance(given, kind):
        raise _wrong(name, given, {str: "a text", bool: "true or false", list: "a list of names"}[kind])
    return given


def _wrong(name: str, given: Any, expected: str) -> DefinitionError:
    what = f"[daemon] {name} is missing" if given is None else f"[daemon] {name} is {given!r}"
    return DefinitionError([Problem(PROJECT_FILE, None, what, expected)])
