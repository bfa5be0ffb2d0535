"""Explaining a view: its plan, how each operator is maintained, what falls back and what to change; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from registry.bundle import PlanBundle
from registry.compiler import CompiledView
from registry.names import ViewName
from registry.native import OperatorMaintenance
from registry.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class ExplainReport:
    """A view's plan and maintenance."""

    compiled: CompiledView

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        view, bundle = self.compiled.view, self.compiled.bundle
        reason = bundle.maintenance.reason
        return {
            "view": view.name,
            "language": view.language,
            "source": str(view.source),
            "policy": view.refresh.value,
            "inputs": sorted(bundle.inputs),
            "state": None if bundle.state is None else bundle.state.name,
            "target": view.target.uri,
            "compile_key": self.compiled.compile_key,
            "fingerprint": bundle.fingerprint,
            "content_key": bundle.content_key,
            "moved": None if self.compiled.moved is None else self.compiled.moved.value,
            "encoding": bundle.encoding,
            "encoding_reason": bundle.encoding_reason,
            "engine_version": bundle.engine_version,
            "functions": dict(bundle.functions_used),
            "macros": dict(bundle.macros_used),
            "domain_planners": _planners(bundle),
            "output_schema": [column.to_json() for column in bundle.output_schema],
            "maintenance": {
                "incremental": bundle.maintenance.incremental,
                "reason": reason,
                "text": "" if reason is None else ReasonCode(reason).text,
                "hint": "" if reason is None else ReasonCode(reason).hint,
                "operators": [_operator(one) for one in bundle.maintenance.operators],
            },
            "displays": bundle.displays.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ReplanReport:
    """A view that was compiled again; `moved` says why its fingerprint moved, None where it did not."""

    view: ViewName
    planned: bool
    fingerprint_before: str
    fingerprint_after: str
    content_key_before: str
    content_key_after: str
    moved: ReasonCode | None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "view": self.view,
            "planned": self.planned,
            "fingerprint_before": self.fingerprint_before,
            "fingerprint_after": self.fingerprint_after,
            "content_key_before": self.content_key_before,
            "content_key_after": self.content_key_after,
            "moved": None if self.moved is None else self.moved.value,
            "recompute": self.content_key_before != self.content_key_after,
        }


def explain_view(compiled: CompiledView) -> ExplainReport:
    """Explain a compiled view."""
    return ExplainReport(compiled)


def _planners(bundle: PlanBundle) -> list[dict[str, Any]]:
    """Give the domain planners that were on, the functions that switched them on, and those that the view calls."""
    called = set(bundle.required_functions)
    switched = bundle.domain_planner_functions
    return [
        {
            "planner": planner,
            "switched_on_by": list(switched.get(planner, ())),
            "called": [name for name in switched.get(planner, ()) if name in called],
        }
        for planner in bundle.domain_planners
    ]


def _operator(one: OperatorMaintenance) -> dict[str, Any]:
    reason = None if one.reason is None else ReasonCode(one.reason)
    return {
        "operator": one.operator,
        "how": one.how,
        "reason": one.reason,
        "text": "" if reason is None else reason.text,
        "hint": "" if reason is None else reason.hint,
    }
