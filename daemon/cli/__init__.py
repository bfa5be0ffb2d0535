"""`daemonctl`: the command line.

Invariant: nothing beyond click and the standard library is imported before a command has printed its first output.
Data goes to stdout, everything else to stderr; the last line is the one that matters.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `daemonctl` command."""
    from daemon.cli.application import run

    sys.exit(run(sys.argv[1:]))
