"""The HTTP API is what its description says: fuzzed by schemathesis over the real service and engine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from daemon.clock import SystemClock
from daemon.live_keeper import open_keeper
from daemon.openapi import api_description
from daemon.operations import OPERATIONS
from daemon.scaffold import make_project
from tests.daemon.console.asking import make_token
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import running

EXAMPLES = 6
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
# A stream does not end by itself.
ENDLESS = {"/v1/events"}
SCHEMA = schemathesis.openapi.from_dict(api_description())
PLACES = [
    (one.path, one.method, mode)
    for one in sorted(
        (found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)), key=lambda one: str(one.path)
    )
    for mode in GenerationMode
    # What takes no body cannot be given a wrong one.
    if one.path not in ENDLESS and (one.method == "post" or mode is GenerationMode.POSITIVE)
]


@dataclass(frozen=True)
class Served:
    url: str
    token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real service over a real project, in a thread of its own."""
    root = tmp_path_factory.mktemp("api") / "shop"
    make_project(root, SystemClock().now_ms())
    found: list[Served] = []
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(root, FakeKeeper(), open_keeper=lambda: open_keeper(root, SystemClock())) as one:
            await one.until(lambda: all(one.service.ready_gates().values()))
            assert one.service.public_address is not None
            host, port = one.service.public_address
            found.append(Served(f"http://{host}:{port}", make_token(one, "fuzz", "admin")))
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield found[0]
    ended.set()
    thread.join()


def test_every_operation_is_described_with_all_of_its_parameters() -> None:
    paths = api_description()["paths"]
    for name, operation in OPERATIONS.items():
        schema = paths[f"/v1/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == {one.name for one in operation.parameters}
        assert (f"/v1/console/{name}" in paths) == (not operation.writes)
        assert f"`{operation.role}`" in paths[f"/v1/{name}"]["post"]["description"]


@pytest.mark.slow
# Schemathesis itself asks `random` now and then.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize(("path", "method", "mode"), PLACES, ids=[f"{path}-{mode.value}" for path, _, mode in PLACES])
def test_whatever_is_asked_the_answer_is_as_described(
    served: Served, path: str, method: str, mode: GenerationMode
) -> None:
    operation = SCHEMA[path][method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=served.url, headers={"authorization": f"Bearer {served.token}"}, timeout=30)
        # What is only told to wait was not looked at.
        assert response.status_code != 429
        case.validate_response(response, checks=list(CHECKS))

    ask()


def test_the_committed_description_is_served(served: Served) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{served.url}/v1/openapi.json", timeout=30) as answered:
        found = json.loads(answered.read())
    assert found == json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
