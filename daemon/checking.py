"""Checking a project: definitions, graph and plans, all problems in one pass; an edge that writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from daemon.port import JsonValue
from registry.compiler import Compiled, CompileOptions, compile_project, define_functions
from registry.errors import DefinitionError, DeltakeepError, Problem
from registry.native import TableState
from registry.project import Project, load_project
from registry.reasons import ReasonCode
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A project that is right: what each view will be kept like.

    `views`, `datasets` and `functions` are JSON values for clients.
    """

    project: str
    datasets: tuple[JsonValue, ...]
    views: tuple[JsonValue, ...]
    functions: tuple[JsonValue, ...] = ()

    def to_json(self) -> JsonValue:
        """The report for clients."""
        return {
            "project": self.project,
            "datasets": list(self.datasets),
            "views": list(self.views),
            "functions": list(self.functions),
            "problems": [],
        }


def check_project(root: Path) -> CheckReport:
    """Load, open the datasets, and plan every view; raises `DefinitionError` with every problem that was found."""
    project = load_project(root)
    runtime = build_session_runtime(RuntimeProfile.of(project.engine))
    datasets, states, problems = _open_datasets(runtime, project)
    schemas = {name: state.schema_text for name, state in states.items()}
    sizes = {name: state.bytes for name, state in states.items()}
    try:
        compiled = compile_project(runtime, project, None, schemas, CompileOptions(sizes=sizes, record=False))
    except DefinitionError as error:
        raise DefinitionError([*problems, *error.problems]) from error
    problems += _view_problems(compiled)
    if problems:
        raise DefinitionError(problems)
    views = []
    for name in compiled.order:
        view = compiled.views[name]
        maintenance = view.bundle.maintenance
        views.append(
            {
                "name": name,
                "incremental": maintenance.incremental,
                "reason": maintenance.reason,
                "hint": _hint(maintenance.reason),
                "inputs": list(view.inputs),
                "source": str(view.view.source),
                "encoding": view.bundle.encoding,
            }
        )
    return CheckReport(project.name, tuple(datasets), tuple(views), _functions(runtime, project, compiled))


def _functions(runtime: SessionRuntime, project: Project, compiled: Compiled) -> tuple[JsonValue, ...]:
    """The macros of the project with the views that call them, directly or through another one."""
    return tuple(
        {
            "name": function.name,
            "arguments": list(function.argument_names),
            "returns": function.return_rule,
            "source": str(project.functions[function.name].source),
            "views": [name for name in compiled.order if function.name in compiled.views[name].bundle.macros_used],
        }
        for function in define_functions(runtime, project)
    )


def _open_datasets(
    runtime: SessionRuntime, project: Project
) -> tuple[list[JsonValue], dict[str, TableState], list[Problem]]:
    found: list[JsonValue] = []
    states: dict[str, TableState] = {}
    problems: list[Problem] = []
    for dataset in project.datasets.values():
        try:
            state = runtime.table_state(dataset.table)
        except DeltakeepError as error:
            place = dataset.source
            what = f'dataset "{dataset.name}" cannot be read: {error.message}'
            problems.append(Problem(place.file, place.line, what, "a Delta table that can be read", error.hint))
            continue
        states[dataset.name] = state
        found.append({"name": dataset.name, "version": state.version, "columns": len(state.columns)})
    return found, states, problems


def _view_problems(compiled: Compiled) -> list[Problem]:
    """The problems of the views themselves: a dataset that cannot be read has been told of once already."""
    told = {ReasonCode.UPSTREAM_FAILED, ReasonCode.INPUT_MISSING}
    return [
        problem for failure in compiled.failed.values() if failure.reason not in told for problem in failure.problems
    ]


def _hint(reason: str | None) -> str:
    try:
        return ReasonCode(reason).hint if reason else ""
    except ValueError:
        return ""
