"""Tokens: what lets a program or a browser ask over TCP; an edge that reads and writes one file.

The file holds name, role and SHA-256 of each token, never a token: a token is 256 random bits, so that a hash without
salt and stretching gives nothing away.
Invariants: the file is readable by its owner only, or it is not used; it is replaced as a whole; a token is compared
with every hash in constant time; one whose time is over opens nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from daemon.caller import ROLES, Caller, Role
from daemon.clock import timestamp_text
from registry.errors import EXIT_CONFIGURATION, EXIT_CONFLICT, EXIT_NOT_ALLOWED, EXIT_USAGE, DeltakeepError

FORMAT: Final = 2
"""Format 1 knows no end of a token; a file without one is written in it, so that an older version reads it too."""
PREFIX: Final = "dk_"
"""Begins every token, so that it can be searched for where it must not be."""
TOKEN_MAX: Final = 200
NAME_RULE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class TokenFileError(DeltakeepError):
    """The file of tokens cannot be used as it is."""

    exit_code_of_class = EXIT_CONFIGURATION


class TokenConflict(DeltakeepError):
    """A token of that name exists already."""

    exit_code_of_class = EXIT_CONFLICT


class TokenNameError(DeltakeepError):
    """That is no name for a token."""

    exit_code_of_class = EXIT_USAGE


class TokenExpired(DeltakeepError):
    """The token is one of ours, and its time is over; `caller` is who held it."""

    exit_code_of_class = EXIT_NOT_ALLOWED

    def __init__(self, token: Token, expires_ms: int) -> None:
        message = f'the token "{token.name}" expired at {timestamp_text(expires_ms)[:19]}Z'
        hint = f"`daemonctl token revoke {token.name}`, then `daemonctl token create {token.name}` makes a new one"
        super().__init__("token_expired", message, hint=hint)
        self.caller = Caller(token.name, token.role, "token")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token: whose it is, what it allows, its hash, who made it when, and until when it holds.

    `expires_ms` None holds until it is revoked.
    """

    name: str
    role: Role
    hash: str
    created_ms: int
    created_by: str
    expires_ms: int | None = None

    def is_over(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def to_json(self) -> dict[str, Any]:
        """What may be shown: all but the hash."""
        return {name: value for name, value in asdict(self).items() if name != "hash"}


class TokenFile:
    """The tokens of a project; read again whenever the file was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def tokens(self) -> tuple[Token, ...]:
        """All tokens by name; none without a file.  Raises `TokenFileError`."""
        try:
            with self._path.open("rb") as stream:
                state = os.fstat(stream.fileno())
                seen = (state.st_ino, state.st_mtime_ns, state.st_size)
                if state.st_mode & 0o077:
                    raise TokenFileError(
                        "tokens_exposed",
                        f'others than the owner may use the file of tokens "{self._path}"',
                        hint=f"chmod 600 {self._path}; make new tokens if others may have changed it",
                    )
                if seen != self._read_at:
                    self._tokens = _parse(stream.read(), self._path)
                    self._read_at = seen
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TokenFileError(
                "tokens_unreadable",
                f'the file of tokens "{self._path}" cannot be read: {error.strerror}',
                hint="it has to belong to the user that the daemon runs as",
            ) from error
        return self._tokens

    def caller(self, token: str, now_ms: int) -> Caller | None:
        """Who holds a token, or None for an unknown one; raises `TokenExpired`."""
        given = _hash(token[:TOKEN_MAX])
        found = None
        for one in self.tokens():
            if hmac.compare_digest(one.hash, given):
                found = one
        if found is None:
            return None
        if found.expires_ms is not None and found.is_over(now_ms):
            raise TokenExpired(found, found.expires_ms)
        return Caller(found.name, found.role, "token")

    def create(self, name: str, role: Role, *, now_ms: int, by: str, expires_ms: int | None = None) -> str:
        """Make a token, for ever or until `expires_ms`, and give it back; it cannot be had again."""
        if not NAME_RULE.fullmatch(name):
            hint = "letters, digits and _.@- , at most 64"
            raise TokenNameError("usage", f'"{name}" is no name for a token', hint=hint)
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._alone():
            tokens = self.tokens()
            if any(one.name == name for one in tokens):
                hint = f"choose another name, or `daemonctl token revoke {name}` first"
                raise TokenConflict("token_exists", f'a token "{name}" exists already', hint=hint)
            self._write((*tokens, Token(name, role, _hash(secret), now_ms, by, expires_ms)))
        return secret

    def revoke(self, name: str) -> Token:
        """Take a token back at once; raises `DeltakeepError` with code `not_found`."""
        with self._alone():
            tokens = self.tokens()
            found = next((one for one in tokens if one.name == name), None)
            if found is None:
                hint = "`daemonctl token list` shows all"
                raise DeltakeepError("not_found", f'there is no token "{name}"', hint=hint)
            self._write(tuple(one for one in tokens if one is not found))
        return found

    def _write(self, tokens: tuple[Token, ...]) -> None:
        expiring = any(one.expires_ms is not None for one in tokens)
        listed = [asdict(one) for one in sorted(tokens, key=lambda one: one.name)]
        value = {"format": FORMAT if expiring else 1, "tokens": listed}
        new = self._path.with_name(self._path.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            if os.geteuid() == 0:
                # The daemon has to read what root makes: the file goes to whom its folder belongs.
                folder = self._path.parent.stat()
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            stream.write(json.dumps(value, indent=1) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, so that two commands do not lose each other's token."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _parse(raw: bytes, path: Path) -> tuple[Token, ...]:
    try:
        value = json.loads(raw)
        if value["format"] > FORMAT:
            raise TokenFileError(
                "tokens_newer",
                f'the file of tokens "{path}" has format {value["format"]}, this version knows {FORMAT}',
                hint="use the version that wrote it, or a newer one",
            )
        return tuple(_token(one) for one in value["tokens"])
    except (ValueError, KeyError, TypeError) as error:
        hint = "restore it, or delete it and make new tokens"
        raise TokenFileError("tokens_broken", f'the file of tokens "{path}" is broken', hint=hint) from error


def _token(value: dict[str, Any]) -> Token:
    if value["role"] not in ROLES:
        raise ValueError
    role = cast("Role", value["role"])
    expires = value.get("expires_ms")
    return Token(
        name=str(value["name"]),
        role=role,
        hash=str(value["hash"]),
        created_ms=int(value["created_ms"]),
        created_by=str(value["created_by"]),
        expires_ms=None if expires is None else int(expires),
    )
