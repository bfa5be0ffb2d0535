"""The functions of the platform: what is installed, under which hash, and whether a plan can still run.

Functions are part of a plan's identity. A bundle may run only where each function that it uses is what it was when the
bundle was planned; `incompatibilities` names the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from pydantic import Field

import datafusion_ext
from registry.bundle import PlanBundle
from registry.errors import PlanAgain
from registry.native import NativeModel
from registry.reasons import ReasonCode


class FunctionDocumentation(NativeModel):
    """What a function does, for people; `section` is the family's heading."""

    section: str = ""
    section_description: str = ""
    description: str = ""
    syntax: str = ""
    example: str | None = None
    arguments: tuple[tuple[str, str], ...] = ()


class FunctionEntry(NativeModel):
    """A function of the platform; `hash` covers all but its documentation."""

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    signature: str = ""
    argument_names: tuple[str, ...] = ()
    return_rule: str = ""
    volatility: str = ""
    null_behaviour: str = ""
    rewrite_tags: tuple[str, ...] = ()
    documentation: FunctionDocumentation | None = None
    version: int = 0
    hash: str = ""

    @property
    def key(self) -> str:
        """Give `kind:name`, the key under which bundles name the function."""
        return f"{self.kind}:{self.name}"


class UdfPlanningSnapshot(NativeModel):
    """The identity of the function platform at planning.

    `registry` has every function of the session by `kind:name`, built-in ones too, with the hash of its signature.
    """

    snapshot_hash: str
    functions: tuple[FunctionEntry, ...] = ()
    rewrite_tags: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    domain_planners: tuple[str, ...] = ()
    domain_planner_functions: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    registry: Mapping[str, str] = Field(default_factory=dict, repr=False)
    registry_hash: str = ""

    def hash_of(self, key: str) -> str | None:
        """Give the hash of a function by `kind:name`: ours with its version, a built-in one by its signature."""
        for function in self.functions:
            if function.key == key:
                return function.hash
        return self.registry.get(key)


Snapshot: TypeAlias = UdfPlanningSnapshot | Mapping[str, object]
"""A snapshot, or its JSON values; an empty mapping stands for a session without the platform."""


def udf_docs() -> tuple[FunctionEntry, ...]:
    """Give every function of the platform with its documentation, as its snapshot and `information_schema` have it."""
    return UdfPlanningSnapshot.from_text(datafusion_ext.udf_snapshot()).functions


def rust_udf_snapshot_hash(snapshot: Snapshot) -> str:
    """Give the hash of what is installed.

    >>> rust_udf_snapshot_hash({"snapshot_hash": "5f"}), rust_udf_snapshot_hash({})
    ('5f', '')
    """
    return _snapshot(snapshot).snapshot_hash


def rewrite_tag_index(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Give the functions by their rewrite tags, both sorted."""
    found: dict[str, set[str]] = {}
    for function in _snapshot(snapshot).functions:
        for tag in function.rewrite_tags:
            found.setdefault(tag, set()).add(function.name)
    return {tag: tuple(sorted(found[tag])) for tag in sorted(found)}


def domain_planner_names_from_snapshot(snapshot: Snapshot | None) -> tuple[str, ...]:
    """Give the names of the domain planners that are on, without their versions.

    >>> domain_planner_names_from_snapshot(UdfPlanningSnapshot(snapshot_hash="", domain_planners=("spans@2",)))
    ('spans',)
    """
    return tuple(sorted(planner.partition("@")[0] for planner in _snapshot(snapshot or {}).domain_planners))


def _snapshot(snapshot: Snapshot) -> UdfPlanningSnapshot:
    if isinstance(snapshot, UdfPlanningSnapshot):
        return snapshot
    return UdfPlanningSnapshot.model_validate({"snapshot_hash": "", **snapshot})


def functions_planned_with(bundle: PlanBundle, snapshot: UdfPlanningSnapshot) -> tuple[FunctionEntry, ...]:
    """Give the functions of the platform that a plan uses, as they were when it was planned with this snapshot."""
    return tuple(function for function in snapshot.functions if function.key in bundle.functions_used)


def incompatibilities(bundle: PlanBundle, snapshot: UdfPlanningSnapshot) -> tuple[str, ...]:
    """Say in words, one text a function, tag or planner, why a bundle cannot run with these functions."""
    found = []
    for key, planned in sorted(bundle.functions_used.items()):
        here = snapshot.hash_of(key)
        if here is None:
            found.append(f'function "{key}" is not registered')
        elif here != planned:
            found.append(f'function "{key}" is not what it was when the view was planned')
    names = {name for function in snapshot.functions for name in (function.name, *function.aliases)}
    found += [f'function "{name}" is not installed' for name in bundle.required_functions if name not in names]
    tags = (tag for tag in bundle.required_rewrite_tags if tag not in snapshot.rewrite_tags)
    found += [f'no function carries the tag "{tag}"' for tag in tags]
    return tuple(found)


def require_functions(bundle: PlanBundle, snapshot: UdfPlanningSnapshot) -> None:
    """Raise `PlanAgain` (`function_changed`) that names what a bundle lacks."""
    problems = incompatibilities(bundle, snapshot)
    if problems:
        message = f'the plan of view "{bundle.name}" cannot run: {"; ".join(problems)}'
        raise PlanAgain(ReasonCode.FUNCTION_CHANGED, message, "plan the view again; it is planned with what is there")
