"""Durations and sizes as people write them: `"1h30m"` and `"128MB"`.

Durations become milliseconds, sizes bytes; MB is 1,000,000 and MiB 1,048,576 bytes.
"""

from __future__ import annotations

import re
from typing import Final

_DURATION_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)
_SIZE_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

DURATION_EXPECTED: Final = 'a duration such as "10s", "1m" or "1h30m"'
SIZE_EXPECTED: Final = 'a size such as "128MB" or "4GiB"'


def parse_duration_ms(text: str) -> int:
    """Give a duration in milliseconds.

    Raises `ValueError` for anything else than numbers with units from days to milliseconds, largest first.

    >>> parse_duration_ms("1h30m")
    5400000
    >>> parse_duration_ms("250ms")
    250
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f'"{text}" is no duration')
    total = 0.0
    for part, factor in zip(found.groups(), _DURATION_UNITS_MS.values(), strict=True):
        total += float(part or 0) * factor
    return round(total)


def parse_size(text: str) -> int:
    """Give a size in bytes.

    Raises `ValueError` for anything else than one number with an optional unit.

    >>> parse_size("128MB"), parse_size("1KiB"), parse_size("10")
    (128000000, 1024, 10)
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is no size')
    unit = (found[2] or "").lower()
    factor = 1024 if unit.endswith("i") else 1000
    power: int = _SIZE_POWERS[unit.removesuffix("i")]
    return round(float(found[1]) * float(factor) ** power)


def format_duration(milliseconds: int) -> str:
    """Write a duration so that `parse_duration_ms` reads it back.

    >>> format_duration(5_400_000), format_duration(0), format_duration(1_250)
    ('1h30m', '0s', '1s250ms')
    """
    if milliseconds == 0:
        return "0s"
    parts = []
    for unit, factor in _DURATION_UNITS_MS.items():
        count, milliseconds = divmod(milliseconds, factor)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
