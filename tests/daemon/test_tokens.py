"""Tokens at rest: hashed, private, replaced as a whole, and gone as soon as they are revoked."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from daemon.tokens import TokenConflict, TokenExpired, TokenFile, TokenFileError, TokenNameError
from registry.errors import EXIT_NOT_ALLOWED, DeltakeepError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


def test_a_token_is_its_callers_name_and_role_and_only_its_hash_is_kept(path: Path) -> None:
    secret = TokenFile(path).create("ann", "operate", now_ms=7, by="root")
    caller = TokenFile(path).caller(secret, 9)
    assert caller is not None
    assert (caller.name, caller.role, caller.way) == ("ann", "operate", "token")
    assert secret.startswith("dk_")
    assert len(secret) > 40
    assert secret not in path.read_text()
    assert secret.removeprefix("dk_") not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_wrong_token_is_nobodys(path: Path) -> None:
    tokens = TokenFile(path)
    secret = tokens.create("ann", "read", now_ms=7, by="root")
    for wrong in ("", "dk_", secret[:-1], secret + "x", secret.upper(), "\udcff", "x" * 100_000):
        assert tokens.caller(wrong, 9) is None
    (stored,) = tokens.tokens()
    assert tokens.caller(stored.hash, 9) is None


def test_a_token_holds_until_its_end_and_not_a_moment_longer(path: Path) -> None:
    tokens = TokenFile(path)
    secret = tokens.create("ann", "read", now_ms=7, by="root", expires_ms=1_000)
    assert tokens.caller(secret, 999) is not None
    with pytest.raises(TokenExpired, match='the token "ann" expired at 1970-01-01T00:00:01Z') as caught:
        tokens.caller(secret, 1_000)
    assert (caught.value.code, caught.value.exit_code) == ("token_expired", EXIT_NOT_ALLOWED)
    assert secret not in str(caught.value)
    (shown,) = [one.to_json() for one in tokens.tokens()]
    assert shown["expires_ms"] == 1_000


def test_only_a_file_with_an_end_in_it_needs_a_version_that_knows_ends(path: Path) -> None:
    tokens = TokenFile(path)
    tokens.create("ann", "read", now_ms=7, by="root")
    assert json.loads(path.read_text())["format"] == 1
    tokens.create("ben", "read", now_ms=7, by="root", expires_ms=1_000)
    assert json.loads(path.read_text())["format"] == 2
    tokens.revoke("ben")
    assert json.loads(path.read_text())["format"] == 1


def test_a_file_of_a_version_without_ends_is_read(path: Path) -> None:
    secret = TokenFile(path).create("ann", "read", now_ms=7, by="root")
    value = json.loads(path.read_text())
    del value["tokens"][0]["expires_ms"]
    path.write_text(json.dumps(value))
    assert TokenFile(path).caller(secret, 10**15) is not None


def test_a_revoked_token_is_refused_by_whoever_had_read_the_file(path: Path) -> None:
    daemon, command = TokenFile(path), TokenFile(path)
    secret = command.create("ann", "read", now_ms=7, by="root")
    kept = command.create("ben", "read", now_ms=8, by="root")
    assert daemon.caller(secret, 9) is not None
    command.revoke("ann")
    assert daemon.caller(secret, 9) is None
    assert daemon.caller(kept, 9) is not None
    with pytest.raises(DeltakeepError, match="no token") as caught:
        command.revoke("ann")
    assert caught.value.exit_code == 5


def test_a_file_that_others_may_use_is_not_used(path: Path) -> None:
    tokens = TokenFile(path)
    secret = tokens.create("ann", "admin", now_ms=7, by="root")
    assert tokens.caller(secret, 9) is not None
    path.chmod(0o640)
    with pytest.raises(TokenFileError, match="others than the owner"):
        tokens.caller(secret, 9)


def test_a_file_of_a_newer_format_or_a_broken_one_is_refused(path: Path) -> None:
    TokenFile(path).create("ann", "admin", now_ms=7, by="root")
    value = json.loads(path.read_text())
    for text, told in (
        (json.dumps({**value, "format": 3}), "format 3"),
        ("{", "broken"),
        (json.dumps({"format": 1, "tokens": [{**value["tokens"][0], "role": "root"}]}), "broken"),
    ):
        path.write_text(text)
        with pytest.raises(TokenFileError, match=told) as caught:
            TokenFile(path).tokens()
        assert caught.value.exit_code == 78
        assert value["tokens"][0]["hash"] not in str(caught.value)


def test_a_name_is_one_word_and_taken_once(path: Path) -> None:
    tokens = TokenFile(path)
    tokens.create("ann@ops", "read", now_ms=7, by="root")
    with pytest.raises(TokenConflict, match="exists"):
        tokens.create("ann@ops", "read", now_ms=8, by="root")
    for name in ("", "two words", "x" * 65, "-x", "a\nb"):
        with pytest.raises(TokenNameError):
            tokens.create(name, "read", now_ms=8, by="root")


def test_commands_at_the_same_time_lose_no_token(path: Path) -> None:
    threads = [
        threading.Thread(target=lambda n=number: TokenFile(path).create(f"t{n}", "read", now_ms=n, by="x"))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {token.name for token in TokenFile(path).tokens()} == {f"t{number}" for number in range(12)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_makes_belongs_to_whom_the_folder_belongs(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, 4711, 4712)
    TokenFile(path).create("ann", "read", now_ms=7, by="root")
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (4711, 4712, 0o600)


def test_a_link_in_the_place_of_the_new_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.parent.mkdir()
    path.with_name("tokens.json.new").symlink_to(victim)
    TokenFile(path).create("ann", "read", now_ms=7, by="root")
    assert victim.read_text() == "precious"
