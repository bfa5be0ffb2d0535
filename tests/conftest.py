"""Profiles of random tests: a few examples in `make check`, many in `make fuzz`; a failure prints what replays it."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
_SAME = settings(deadline=None, print_blob=True, suppress_health_check=_SLOW_IS_FINE)

# A history takes seconds, so making a failing one smaller takes minutes: `make fuzz` does that.
_FOUND = (Phase.explicit, Phase.generate)

settings.register_profile("check", _SAME, max_examples=15, derandomize=True, phases=_FOUND)
settings.register_profile("fuzz", _SAME, max_examples=1000)
settings.load_profile("check")
