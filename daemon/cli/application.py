"""The group of commands, loaded one by one when they are used, and the one place where a command ends."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from daemon.cli.show import show_failure
from daemon.failure import EnginePanic, Failure, failure_of, is_panic
from registry.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from registry.secrets import masked

EPILOG = """\b
Exit codes:
  0  done                        6  conflict, somebody else was first
  1  failed                      7  the daemon is not reachable
  2  wrong usage                 8  a check failed (verify, doctor)
  3  changes pending (preview    75  not now, try later
     --exit-code)                78  the configuration has to be fixed
  4  not allowed                130  interrupted
  5  not found
"""


@dataclass(frozen=True, slots=True)
class _Verb:
    """Where a command is, and its line in the list."""

    module: str
    summary: str


VERBS: dict[str, _Verb] = {
    "init": _Verb("begin", "Make a small working project."),
    "demo": _Verb("begin", "Replay the flights example and watch it being kept."),
    "check": _Verb("check", "Validate the project: definitions, graph and plans."),
    "doctor": _Verb("check", "Check the environment: clock, disk, rights, datasets."),
    "run": _Verb("service", "Keep the views until stopped, or run one cycle."),
    "reload": _Verb("service", "Make the daemon read the definitions again."),
    "health": _Verb("service", "Ask the daemon whether its work turns."),
    "status": _Verb("look", "How fresh each view is, and what is wrong."),
    "top": _Verb("top", "Watch views, lags, refreshes and datasets live."),
    "views": _Verb("look", "What each view reads and how it is refreshed."),
    "lineage": _Verb("look", "Where a view's columns come from, or who reads whom."),
    "history": _Verb("look", "The last refreshes of a view, or of all, newest first."),
    "why": _Verb("reason", "Why a view was refreshed, or why not."),
    "explain": _Verb("reason", "A view's plan and how each operator is maintained."),
    "preview": _Verb("reason", "What a change would touch and cost; writes nothing."),
    "replan": _Verb("act", "Plan a view anew from its definition."),
    "refresh": _Verb("act", "Refresh views now, with what they depend on."),
    "pause": _Verb("act", "Stop refreshing a view until it is resumed."),
    "resume": _Verb("act", "Refresh a paused view again."),
    "verify": _Verb("data", "Prove that views equal their recomputation."),
    "query": _Verb("data", "Run SQL over datasets, views and artifact tables."),
    "requests": _Verb("look", "Who asked for which change, newest first."),
    "token": _Verb("token", "Make, list and revoke tokens for the console."),
    "export": _Verb("export", "Write files for the programs around a project."),
    "log-level": _Verb("support", "Show or set the level of the daemon's log."),
    "support-bundle": _Verb("support", "Write what helps to find a fault, without secrets."),
    "version": _Verb("version", "Versions of everything that matters."),
}


@dataclass(slots=True)
class Setting:
    """The options that come before the command."""

    project: Path | None
    offline: bool
    quiet: bool


class _Application(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        """All names, in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = getattr(importlib.import_module(f"daemon.cli.{verb.module}"), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one gets a suggestion."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from registry.names import did_you_mean

            raise click.UsageError(f'there is no command "{args[0]}"; {did_you_mean(args[0], VERBS)}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


@click.group(cls=_Application, epilog=EPILOG)
@click.option(
    "-C",
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The project's folder; default: the nearest one upwards with a deltakeep.toml.",
)
@click.option("--offline", is_flag=True, help="Do not ask a running daemon; open the project in this process.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def application(ctx: click.Context, project: Path | None, offline: bool, quiet: bool) -> None:
    """Keep derived Delta tables right: see, explain and steer what the daemon does.

    Every command works with the daemon and without it; reading never changes anything.
    """
    ctx.obj = Setting(project=project, offline=offline, quiet=quiet)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code and never raises."""
    try:
        code = application.main(args=list(arguments), prog_name="daemonctl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "daemonctl"
        return _end(Failure("usage", error.format_message(), hint=f"see `{path} --help`", exit_code=EXIT_USAGE))
    except click.ClickException as error:
        return _end(Failure("failed", error.format_message(), exit_code=error.exit_code))
    except (click.Abort, KeyboardInterrupt):
        return _end(Failure("interrupted", "interrupted", exit_code=EXIT_INTERRUPTED))
    except BrokenPipeError:
        # The reader has what it wanted (`daemonctl history | head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:  # noqa: BLE001 - the last frame: everything becomes a message and a code
        if os.environ.get("DELTAKEEP_TRACEBACK"):
            sys.stderr.write(masked("".join(traceback.format_exception(error))))
        return _end(failure_of(error))
    except BaseException as error:
        if is_panic(error):
            return _end(failure_of(EnginePanic(error)))
        raise
    return code if isinstance(code, int) else EXIT_OK


def _end(failure: Failure) -> int:
    show_failure(failure)
    return failure.exit_code
