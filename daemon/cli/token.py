"""`daemonctl token`: who may ask over TCP; works on the file of tokens, with the daemon and without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, cast

import click

from daemon.caller import ROLES, Role
from daemon.cli.access import project_root
from daemon.cli.options import output_option
from daemon.cli.show import counted, show_json, show_line, show_table
from daemon.clock import SystemClock, timestamp_text
from daemon.console.settings import tokens_path
from daemon.place import daemon_settings
from daemon.tokens import Token, TokenFile
from daemon.unix_user import caller_here
from registry.quantities import parse_duration_ms

EXPIRES_MAX_MS: Final = 36_500 * 86_400_000


@click.group()
def token() -> None:
    """Make, list and revoke tokens for the console.

    A token with role `read` looks, `operate` also refreshes, replans, pauses and resumes, `admin` may do all.
    On this machine reading needs none, and whoever may open the control socket needs none at all.
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it allows.")
@click.option("--expires", metavar="DURATION", help='How long it holds, as in "90d"; else until it is revoked.')
@output_option
@click.pass_context
def create(ctx: click.Context, name: str, role: str, expires: str | None, output: str) -> None:
    """Make a token and show it, once.

    NAME is what the table of requests calls whoever uses it.  Only its hash is kept.
    """
    now_ms = SystemClock().now_ms()
    expires_ms = None if expires is None else now_ms + _holds_ms(expires)
    secret = TokenFile(_path(ctx)).create(
        name, cast("Role", role), now_ms=now_ms, by=caller_here().name, expires_ms=expires_ms
    )
    if output == "json":
        show_json({"name": name, "role": role, "expires_ms": expires_ms, "token": secret})
        return
    until = "" if expires_ms is None else f", until {_moment(expires_ms)} UTC"
    sys.stderr.write(f'token "{name}" with role {role}{until}; it is not shown again:\n')
    sys.stderr.flush()
    show_line(secret)


@token.command("list")
@output_option
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """The tokens by name, with their roles and ends; never the tokens themselves."""
    tokens = TokenFile(_path(ctx)).tokens()
    if output == "json":
        show_json([one.to_json() for one in tokens])
        return
    now_ms = SystemClock().now_ms()
    rows = [(one.name, one.role, _moment(one.created_ms), one.created_by, _end(one, now_ms)) for one in tokens]
    show_table(["name", "role", "created", "by", "expires"], rows)
    show_line(counted(len(tokens), "token"))


@token.command()
@click.argument("name")
@output_option
@click.pass_context
def revoke(ctx: click.Context, name: str, output: str) -> None:
    """Take a token back; the daemon refuses it from the next request on."""
    revoked = TokenFile(_path(ctx)).revoke(name)
    if output == "json":
        show_json(revoked.to_json())
    else:
        show_line(f'token "{name}" is revoked')


def _end(token: Token, now_ms: int) -> str:
    if token.expires_ms is None:
        return "never"
    return f"{_moment(token.expires_ms)}{' (expired)' if token.is_over(now_ms) else ''}"


def _moment(at_ms: int) -> str:
    return timestamp_text(at_ms)[:19].replace("T", " ")


def _holds_ms(text: str) -> int:
    try:
        duration_ms = parse_duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write it as 90d or 12h", param_hint="--expires") from error
    if not 0 < duration_ms <= EXPIRES_MAX_MS:
        raise click.BadParameter("more than nothing and at most 36500d", param_hint="--expires")
    return duration_ms


def _path(ctx: click.Context) -> Path:
    root = project_root(ctx)
    return tokens_path(root, daemon_settings(root))
