"""Causes: what made a view's content invalid, in one word from a closed list; pure.

A reason says why a refresh is done as it is done; a cause says why it is done at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from incremental.invalidation import Changed
from incremental.view_plan import ViewPlan
from registry.names import DatasetName
from registry.reasons import ReasonCode


class Cause(StrEnum):
    """What made a refresh necessary."""

    FIRST_BUILD = "first_build"
    DATASET = "dataset"
    VIEW = "view"
    DEFINITION = "definition"
    FUNCTION = "function"
    SCHEMA = "schema"
    REQUEST = "request"
    TARGET = "target"
    HISTORY = "history"
    CLOCK = "clock"


_BY_REASON: Final[Mapping[ReasonCode, Cause]] = {
    ReasonCode.FIRST_BUILD: Cause.FIRST_BUILD,
    ReasonCode.DEFINITION_CHANGED: Cause.DEFINITION,
    ReasonCode.FUNCTION_CHANGED: Cause.FUNCTION,
    ReasonCode.CONTENT_KEY_CHANGED: Cause.SCHEMA,
    ReasonCode.SCHEMA_CHANGED: Cause.SCHEMA,
    ReasonCode.REQUESTED: Cause.REQUEST,
    ReasonCode.TARGET_MODIFIED: Cause.TARGET,
    ReasonCode.TARGET_MISSING: Cause.TARGET,
    ReasonCode.HISTORY_GONE: Cause.HISTORY,
    ReasonCode.TABLE_REPLACED: Cause.HISTORY,
}


def cause_of(plan: ViewPlan, datasets: Collection[DatasetName]) -> Cause:
    """Why a plan refreshes: its reason where that tells, else whose changes it takes in."""
    told = _BY_REASON.get(plan.reason)
    if told is not None:
        return told
    changed = {one.relation for one in plan.findings if isinstance(one, Changed)}
    if any(DatasetName(relation) in datasets for relation in changed):
        return Cause.DATASET
    # A refresh for which nothing changed happens only because time went by.
    return Cause.VIEW if changed else Cause.CLOCK
