"""`daemonctl token`: who may ask over TCP; works on the file of tokens, with the daemon and without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import click

from daemon.caller import ROLES, Role
from daemon.cli.access import project_root
from daemon.cli.options import output_option
from daemon.cli.show import counted, show_json, show_line, show_table
from daemon.clock import SystemClock, timestamp_text
from daemon.console.settings import tokens_path
from daemon.place import daemon_settings
from daemon.tokens import TokenFile
from daemon.unix_user import caller_here


@click.group()
def token() -> None:
    """Make, list and revoke tokens for the console.

    A token with role `read` looks, `operate` also refreshes, replans, pauses and resumes, `admin` may do all.
    On this machine reading needs none, and whoever may open the control socket needs none at all.
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it allows.")
@output_option
@click.pass_context
def create(ctx: click.Context, name: str, role: str, output: str) -> None:
    """Make a token and show it, once.

    NAME is what the table of requests calls whoever uses it.  Only its hash is kept.
    """
    secret = TokenFile(_path(ctx)).create(
        name, cast("Role", role), now_ms=SystemClock().now_ms(), by=caller_here().name
    )
    if output == "json":
        show_json({"name": name, "role": role, "token": secret})
        return
    sys.stderr.write(f'token "{name}" with role {role}; it is not shown again:\n')
    sys.stderr.flush()
    show_line(secret)


@token.command("list")
@output_option
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """The tokens by name, with their roles; never the tokens themselves."""
    tokens = TokenFile(_path(ctx)).tokens()
    if output == "json":
        show_json([one.to_json() for one in tokens])
        return
    rows = [
        (one.name, one.role, timestamp_text(one.created_ms)[:19].replace("T", " "), one.created_by) for one in tokens
    ]
    show_table(["name", "role", "created", "by"], rows)
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


def _path(ctx: click.Context) -> Path:
    root = project_root(ctx)
    return tokens_path(root, daemon_settings(root))
