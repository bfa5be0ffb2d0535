"""Names and identifiers: one type for each, one rule for those that people write.

A name is `[a-z_][a-z0-9_]*`, at most 64 characters, so that it needs no quoting in SQL, paths, labels and TOML.
"""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Iterable
from typing import Final, NewType

ViewName = NewType("ViewName", str)
DatasetName = NewType("DatasetName", str)
RelationName = NewType("RelationName", str)
Version = NewType("Version", int)
Fingerprint = NewType("Fingerprint", str)
ContentKey = NewType("ContentKey", str)
CompileKey = NewType("CompileKey", str)
TableId = NewType("TableId", str)

NAME_RULE: Final = "a name of lower-case letters, digits and underscores that does not start with a digit"
NAME_LENGTH_MAX: Final = 64
RESERVED_NAMES: Final = frozenset({"deltakeep", "information_schema"})

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
_PROJECTS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://deltakeep.invalid/project")


def name_problem(text: str) -> str | None:
    """Say what is wrong with a name, or None.

    >>> name_problem("orders_2024")
    >>> name_problem("Orders")
    'use "orders"'
    """
    if len(text) > NAME_LENGTH_MAX:
        return f"use at most {NAME_LENGTH_MAX} characters"
    if text in RESERVED_NAMES or text.startswith("__"):
        return "this name is reserved, use another one"
    if _NAME.fullmatch(text):
        return None
    better = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")
    if better[:1].isdigit():
        better = "_" + better
    return f'use "{better}"' if better else "use letters, digits and underscores"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that `name` was probably meant to be, or None.

    >>> nearest("oders", ["orders", "customers"])
    'orders'
    """
    found = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the hint for an unknown name: the nearest known one, or the list of all."""
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return f'did you mean "{close}"?'
    return f"known: {', '.join(names)}" if names else "there are none"


def view_id(project: str, view: ViewName) -> str:
    """Give the id that marks a view's target: a UUID of the project's and the view's name, equal on every machine."""
    return str(uuid.uuid5(_PROJECTS, f"{project}/{view}"))
