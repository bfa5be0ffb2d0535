"""A process that runs a pinned refresh from its file, and nothing else: `python -m tests.tpc.replay REQUEST`."""

from __future__ import annotations

import sys
from pathlib import Path

from registry.session import RuntimeProfile, build_session_runtime

if __name__ == "__main__":
    runtime = build_session_runtime(RuntimeProfile(target_partitions=5, durable=False))
    sys.stdout.write(runtime.engine.refresh(Path(sys.argv[1]).read_text(encoding="utf-8")))
