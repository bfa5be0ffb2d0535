"""The steps that a refresh tells: those of its work, and those of the engine's own enumeration for commits."""

from __future__ import annotations

import json
from typing import Final

import datafusion_ext
from tests.simulation.chain import SITUATIONS

COMMIT_STEPS: Final[tuple[str, ...]] = tuple(json.loads(datafusion_ext.commit_steps()))
WORK_STEPS: Final = ("planning", "reading_changes", "computing", "matching", "writing", "committing")
# A recompute compares nothing, and the first entry of a log is no base of a checkpoint.
NEVER: Final[dict[str, set[str]]] = {
    "first_build": {"reading_changes", "matching", "writing", "checkpointed"},
    "redefined": {"reading_changes", "matching", "writing"},
}
STEPS: Final = {
    situation: tuple(step for step in (*WORK_STEPS, *COMMIT_STEPS) if step not in NEVER.get(situation, set()))
    for situation in SITUATIONS
}
