"""Profiles of random tests: a few examples in `make check`, many in `make fuzz`; a failure prints what replays it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from registry import secrets

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
_SAME = settings(deadline=None, print_blob=True, suppress_health_check=_SLOW_IS_FINE)

# A history takes seconds, so making a failing one smaller takes minutes: `make fuzz` does that.
_FOUND = (Phase.explicit, Phase.generate)

settings.register_profile("check", _SAME, max_examples=15, derandomize=True, phases=_FOUND)
settings.register_profile("fuzz", _SAME, max_examples=1000)
settings.load_profile("check")


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> Iterator[None]:
    """A process never forgets a secret; a test must not see those of the test before it."""
    yield
    secrets._values.clear()
    secrets._pattern = None
