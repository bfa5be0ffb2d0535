"""Formats of what lies on disk: each says its number, and a number above ours is never guessed at.

| what | where the number stands | a newer one | an older one |
|---|---|---|---|
| store: the artifact tables | table property `deltakeep.format` | the project is not opened | is read and continued |
| bundle: a stored plan | `format` in its JSON | the view is planned again | is read |
| commit: what a target's commit says of itself | `format` in `commitInfo.deltakeep` | the view is refused | is read |
| tokens of the console | `format` in their file | no token is taken | is read |

The code of all of them is `newer_format`, that of the file of tokens `tokens_newer`; the exit code is 78.

Format 0 is what was written before anything said its number; the first three were then as they are in format 1.
Invariant: whoever changes one of them so that an older version would misread it, raises its number here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from registry.errors import EXIT_CONFIGURATION, MustStop

STORE_FORMAT: Final = 1
BUNDLE_FORMAT: Final = 1
COMMIT_FORMAT: Final = 1
STORE_PROPERTY: Final = "deltakeep.format"
FORMAT_KEY: Final = "format"


class NewerFormat(MustStop):
    """Something on disk was written by a newer version, and reading it would be guessing."""

    exit_code_of_class = EXIT_CONFIGURATION


def known_formats() -> dict[str, int]:
    """The newest format of each kind that this version reads, which is the one that it writes."""
    return {"store": STORE_FORMAT, "bundle": BUNDLE_FORMAT, "commit": COMMIT_FORMAT}


def format_number(value: object) -> int:
    """The number that something says of itself: 0 where it says none.

    A number that cannot be read is one that we do not know.

    >>> format_number(None), format_number("1"), format_number("two")
    (0, 1, 9223372036854775807)
    """
    if value is None:
        return 0
    text = str(value)
    return int(text) if text.isdecimal() else 2**63 - 1


def require_store_format(uri: str, properties: Mapping[str, str]) -> None:
    """Raise `NewerFormat` for the store of a newer version."""
    said = properties.get(STORE_PROPERTY)
    if format_number(said) > STORE_FORMAT:
        raise NewerFormat(
            "newer_format",
            f"the store {uri} has format {said}, and this version reads formats up to {STORE_FORMAT}: "
            "a newer Deltakeep wrote it",
            "install that version again, or give this one a store of its own by [project] store",
        )


def bundle_is_known(document: Mapping[str, Any]) -> bool:
    """Whether a stored plan is of a format that this version reads."""
    return format_number(document.get(FORMAT_KEY)) <= BUNDLE_FORMAT


def newer_commit(said: object) -> str | None:
    """What is wrong with a target's commit of a newer version; None for one that we read."""
    if format_number(said) <= COMMIT_FORMAT:
        return None
    return (
        f"The target's last commit has format {said}, and this version reads formats up to {COMMIT_FORMAT}: "
        "a newer Deltakeep keeps this view."
    )
