"""Compiling: datasets are looked at, and definitions compiled with the schemas that were seen; an edge.

Invariant: a dataset that cannot be read just now keeps the schema that was seen of it last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from incremental.clock import Clock
from incremental.definitions import Definitions, compile_definitions, edited_project
from incremental.figures import Compilation
from incremental.observation import Datasets, Observation, Observed, sizes, unreadable
from incremental.preview import PreviewRequest
from registry.artifacts import ArtifactStore
from registry.compiler import CompileOptions
from registry.names import DatasetName
from registry.project import Project
from registry.session import SessionRuntime

COMPILATIONS_MAX: Final = 1_000
"""How many compilations are remembered for figures that nobody takes."""


class Compiling:
    """Compiles the definitions of one project, and remembers schemas and what it took."""

    def __init__(self, runtime: SessionRuntime, clock: Clock, artifacts: ArtifactStore, datasets: Datasets) -> None:
        self._runtime = runtime
        self._clock = clock
        self._artifacts = artifacts
        self._datasets = datasets
        self._known_schemas: Mapping[str, str] = {}
        self._known_sizes: Mapping[str, int] = {}
        self._compilations: deque[Compilation] = deque(maxlen=COMPILATIONS_MAX)
        self.distrust = False
        """Whether nothing that is remembered of the datasets is taken for granted."""

    def observe(self, project: Project, names: Iterable[str] | None = None) -> dict[DatasetName, Observation]:
        """Look at datasets of a project (all: None)."""
        chosen = [project.datasets[name] for name in sorted(project.datasets if names is None else set(names))]
        return self._datasets.observe(chosen, self._clock.now_ms(), thorough=self.distrust)

    def compile(
        self, project: Project, observations: Mapping[DatasetName, Observation], cycle_id: str = ""
    ) -> Definitions:
        """Compile with the schemas that were seen, and remember those."""
        self._known_sizes = {**self._known_sizes, **sizes(observations)}
        known = self._known_sizes
        options = CompileOptions(self._clock.now_ms(), cycle_id, unreadable=unreadable(observations), sizes=known)
        schemas = self._schemas(project, observations)
        definitions = self._compiled(project, schemas, options)
        self._known_schemas = {**self._known_schemas, **schemas}
        return definitions

    def have_schemas_moved(self, definitions: Definitions, observations: Mapping[DatasetName, Observation]) -> bool:
        """Whether definitions were compiled with other schemas than were seen now."""
        return self._schemas(definitions.project, observations) != definitions.schemas

    def again(self, definitions: Definitions, options: CompileOptions) -> Definitions:
        """Compile once more with the same schemas."""
        options = replace(options, sizes=self._known_sizes)
        return self._compiled(definitions.project, definitions.schemas, options)

    def edited(
        self, definitions: Definitions, request: PreviewRequest, observations: Mapping[DatasetName, Observation]
    ) -> tuple[Definitions, Mapping[DatasetName, Observation]]:
        """The definitions that a preview is about, and their datasets; edited ones are compiled and not recorded."""
        if request.definitions is None and not request.edited:
            return definitions, observations
        project = edited_project(definitions.project, request.definitions, request.edited)
        new = [one for name, one in project.datasets.items() if DatasetName(name) not in observations]
        observed = {**observations, **self._datasets.observe(new, self._clock.now_ms())}
        options = CompileOptions(now_ms=self._clock.now_ms(), sizes=sizes(observed), record=False)
        schemas = self._schemas(project, observed)
        edited = compile_definitions(self._runtime, project, self._artifacts, schemas, options)
        edited.compiled.require_all()
        return edited, observed

    def take_compilations(self) -> tuple[Compilation, ...]:
        """The compilations since they were taken last."""
        told = tuple(self._compilations)
        self._compilations.clear()
        return told

    def _schemas(self, project: Project, observations: Mapping[DatasetName, Observation]) -> dict[str, str]:
        known = self._known_schemas
        schemas: dict[str, str] = {}
        for name in project.datasets:
            seen = observations.get(DatasetName(name))
            if isinstance(seen, Observed):
                schemas[name] = seen.schema_text
            elif name in known:
                schemas[name] = known[name]
        return schemas

    def _compiled(self, project: Project, schemas: Mapping[str, str], options: CompileOptions) -> Definitions:
        """Compile for good, and remember what it took."""
        began_ms = self._clock.monotonic_ms()
        definitions = compile_definitions(self._runtime, project, self._artifacts, schemas, options)
        self._compilations.append(Compilation.of(definitions.compiled, self._clock.monotonic_ms() - began_ms))
        return definitions
