"""`deltakeep`: the service, as systemd starts it."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `deltakeep` command: `daemonctl run` without its other uses."""
    from daemon.cli.application import run

    arguments = sys.argv[1:]
    project: list[str] = []
    if len(arguments) >= 2 and arguments[0] in {"-C", "--project"}:
        project, arguments = arguments[:2], arguments[2:]
    sys.exit(run(["-q", *project, "run", *arguments]))


if __name__ == "__main__":
    main()
