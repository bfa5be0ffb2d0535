"""A process that compiles every query of this folder once and prints the identities: `python -m tests.tpc.identities`.

Takes a seed, which decides the order of the queries and of their inputs, and the number of partitions.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys

from registry.session import RuntimeProfile, build_session_runtime
from tests.tpc.queries import load


def identities(seed: int, target_partitions: int) -> dict[str, dict[str, str]]:
    """Compile all queries, and give what must be the same everywhere."""
    runtime = build_session_runtime(RuntimeProfile(target_partitions=target_partitions, durable=False))
    queries = list(load())
    random.Random(seed).shuffle(queries)
    found = {}
    for query in queries:
        request = query.request(runtime, backwards=seed % 2 == 1)
        bundle = runtime.compile(request)
        found[query.name] = {
            "fingerprint": bundle.fingerprint,
            "content_key": bundle.content_key,
            "compile_key": runtime.compile_key(request),
            "compile_key_of_bundle": bundle.compile_key,
            "plan": hashlib.sha256(bundle.plan_bytes.encode()).hexdigest(),
            "encoding": f"{bundle.encoding} {bundle.encoding_reason}",
            "lineage": hashlib.sha256(json.dumps(bundle.lineage, sort_keys=True).encode()).hexdigest(),
            "optimized": bundle.displays.optimized or "",
        }
    return found


if __name__ == "__main__":
    json.dump(identities(int(sys.argv[1]), int(sys.argv[2])), sys.stdout, sort_keys=True)
