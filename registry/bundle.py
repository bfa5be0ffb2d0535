"""The plan bundle: the one artifact that everything after planning reads.

`PlanBundle` is what the native engine compiled, `PinnedBundle` adds the versions to read, the clock and the scan units,
and so holds all that a refresh needs: run it twice, anywhere, and get the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from registry.names import CompileKey, ContentKey, Fingerprint
from registry.native import Column, DeltaInputPin, NativeModel, OperatorMaintenance, Reasoned, ScanUnit, SchemaText


class Displays(NativeModel):
    """The plan for people: EXPLAIN texts, Graphviz and PostgreSQL's JSON."""

    logical: str | None = None
    optimized: str | None = None
    physical: str | None = None
    graphviz: str | None = None
    pgjson: str | None = None


class MaintenanceAnalysis(Reasoned):
    """Whether the plan can be refreshed incrementally, and how each operator takes part."""

    incremental: bool = False
    operators: tuple[OperatorMaintenance, ...] = ()


class InputUse(NativeModel):
    """What a plan needs of an input: the columns that it reads and their hash; other columns may come and go."""

    columns: tuple[Column, ...] = ()
    schema_hash: str = ""


# What decides no row of this plan: recorded while planning, or another plan; the identities speak for the settings.
_NOT_RUN: Final = frozenset({"displays", "settings", "state"})


class PlanBundle(NativeModel):
    """A compiled view: canonical plan bytes, their identities, and everything that was learned while planning.

    `state` is the first of two stages: a view of its own, which this one reads in the place of a part of its query.
    The engine's JSON is kept whole in `document`, so that a bundle crosses back exactly as it came.
    """

    name: str
    encoding: Literal["substrait", "proto"]
    encoding_reason: str | None = None
    plan_bytes: str = Field(repr=False)
    compile_key: CompileKey = CompileKey("")
    fingerprint: Fingerprint
    content_key: ContentKey
    output_schema: tuple[Column, ...] = Field(default=(), repr=False)
    table_schema: SchemaText | None = Field(default=None, repr=False)
    required_functions: tuple[str, ...] = ()
    required_rewrite_tags: tuple[str, ...] = ()
    function_snapshot_hash: str = ""
    function_registry_hash: str = ""
    functions_used: Mapping[str, str] = Field(default_factory=dict)
    macros_used: Mapping[str, str] = Field(default_factory=dict)
    volatile_functions: tuple[str, ...] = ()
    domain_planners: tuple[str, ...] = ()
    domain_planner_functions: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    settings: Mapping[str, str] = Field(default_factory=dict, repr=False)
    lineage: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    displays: Displays = Field(default=Displays(), repr=False)
    maintenance: MaintenanceAnalysis = Field(default=MaintenanceAnalysis(), repr=False)
    inputs: Mapping[str, InputUse] = Field(default_factory=dict, repr=False)
    engine_version: str = ""
    state: PlanBundle | None = Field(default=None, repr=False)

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)
    _runnable: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_document(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, PlanBundle):
            return handler(value)
        bundle = handler(value)
        document = json.loads(value) if isinstance(value, str | bytes) else value
        # The value is new: nobody else has seen it yet.
        bundle._document = dict(document)  # noqa: SLF001
        bundle._runnable = {key: part for key, part in document.items() if key not in _NOT_RUN}  # noqa: SLF001
        return bundle

    @property
    def closure(self) -> Mapping[str, str]:
        """Give everything whose change changes the view: functions by `kind:name` and macros, with their hashes."""
        return {**self.functions_used, **{f"macro:{name}": found for name, found in self.macros_used.items()}}

    @property
    def volatile_calls(self) -> str:
        """Give the calls that give other values each time, in words; empty where there are none."""
        return ", ".join(f"{name}()" for name in self.volatile_functions)

    @property
    def document(self) -> Mapping[str, Any]:
        """Give the bundle as the engine wrote it: the JSON values that cross back."""
        return self._document

    @property
    def runnable(self) -> Mapping[str, Any]:
        """Give what the engine needs of the bundle to run it: a fraction of the whole, which crosses many times."""
        return self._runnable

    def to_json(self) -> dict[str, Any]:
        """Give the bundle as the engine wrote it."""
        return dict(self._document)

    def artifacts(self) -> PlanArtifacts:
        """Give what is stored of the planning itself."""
        return PlanArtifacts(
            logical_plan_display=self.displays.logical,
            optimized_plan_display=self.displays.optimized,
            optimized_plan_graphviz=self.displays.graphviz,
            optimized_plan_pgjson=self.displays.pgjson,
            execution_plan_display=self.displays.physical,
            df_settings=self.settings,
            function_snapshot_hash=self.function_snapshot_hash,
            function_registry_hash=self.function_registry_hash,
            functions_used=self.functions_used,
            rewrite_tags=self.required_rewrite_tags,
        )


@dataclass(frozen=True, slots=True)
class PlanArtifacts:
    """What planning left behind, for people and for comparing two plans."""

    logical_plan_display: str | None
    optimized_plan_display: str | None
    optimized_plan_graphviz: str | None
    optimized_plan_pgjson: str | None
    execution_plan_display: str | None
    df_settings: Mapping[str, str]
    function_snapshot_hash: str
    function_registry_hash: str
    functions_used: Mapping[str, str]
    rewrite_tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PinnedBundle:
    """A bundle with all that a refresh needs: the versions to read, what `now()` means, and the scan units."""

    bundle: PlanBundle
    pins: tuple[DeltaInputPin, ...]
    clock_ms: int
    scan_units: tuple[ScanUnit, ...] = ()

    @property
    def cache_key(self) -> str:
        """Give the key of the rows that this makes: `cache_key(bundle, pins)`."""
        return cache_key(self.bundle, self.pins)

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {
            "bundle": self.bundle.to_json(),
            "pins": [pin.to_json() for pin in self.pins],
            "clock_ms": self.clock_ms,
            "scan_units": [unit.to_json() for unit in self.scan_units],
        }


def cache_key(bundle: PlanBundle, pins: tuple[DeltaInputPin, ...]) -> str:
    """Give the SHA-256 of everything that decides a pinned plan: fingerprint, functions, tags, settings and pins.

    The order of the pins has no part in it.
    """
    parts = {
        "fingerprint": bundle.fingerprint,
        "function_snapshot_hash": bundle.function_snapshot_hash,
        "required_functions": sorted(bundle.required_functions),
        "required_rewrite_tags": sorted(bundle.required_rewrite_tags),
        "settings": dict(sorted(bundle.settings.items())),
        "pins": sorted([pin.relation, pin.table_id, pin.version] for pin in pins),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
