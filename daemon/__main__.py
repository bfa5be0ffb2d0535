"""`deltakeep`: the service, as systemd or a container starts it."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the `deltakeep` command: `daemonctl run` without its other uses."""
    # Process 1 of a container ignores TERM until somebody answers it; the service does so a moment later.
    signal.signal(signal.SIGTERM, _leave)
    from daemon.cli.application import run

    arguments = sys.argv[1:]
    project: list[str] = []
    if len(arguments) >= 2 and arguments[0] in {"-C", "--project"}:
        project, arguments = arguments[:2], arguments[2:]
    sys.exit(run(["-q", *project, "run", *arguments]))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Stop while starting: nothing has begun yet."""
    raise SystemExit(0)


if __name__ == "__main__":
    main()
