"""A project on disk for tests: datasets, views, the keeper over them, and the oracle over the keeper."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from tests import oracle
from tests.lake import Rows, SourceTable
from tests.value_bytes import content_digest


@dataclass(slots=True)
class SteppedClock:
    """A clock that stands still until a test moves it."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_ms(self) -> int:
        return self.at_ms

    def step(self, by_ms: int = 60_000) -> None:
        self.at_ms += by_ms


@dataclass(slots=True)
class Workspace:
    """A project whose inputs and views a test makes; SQL views only, so that the oracle can run them itself."""

    root: Path
    clock: SteppedClock = field(default_factory=SteppedClock)
    datasets: dict[str, SourceTable] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    trusted_writers: Sequence[str] = ()
    """Whose change files are believed, in every dataset."""
    timed_choice: bool = False
    """Whether paths are chosen by time, on the machine's own clock."""
    settings: str = ""
    """More of `[engine]`, and whatever tables come after it in `deltakeep.toml`."""

    def dataset(self, name: str, schema: pa.Schema, rows: Rows = (), **options: Any) -> SourceTable:
        """Create a Delta table and declare it."""
        self.datasets[name] = SourceTable.create(self.root / "lake" / name, schema, rows, **options)
        self.configure()
        return self.datasets[name]

    def view(self, name: str, query: str, header: str = "") -> None:
        """Write the definition of a view; `header` is TOML."""
        self.views[name] = query
        text = f"/*\n{header}\n*/\n{query}\n" if header else f"{query}\n"
        (self.root / "views").mkdir(parents=True, exist_ok=True)
        (self.root / "views" / f"{name}.sql").write_text(text)

    def configure(self) -> None:
        """Write `deltakeep.toml`."""
        self.root.mkdir(parents=True, exist_ok=True)
        lines = ['[project]\nname = "test"\nstore = "state"\ntargets = "views_out"']
        trusted = f"trusted_writers = {json.dumps(list(self.trusted_writers))}"
        lines += [f'[datasets.{name}]\nuri = "lake/{name}"\n{trusted}' for name in self.datasets]
        timed = json.dumps(self.timed_choice)
        lines.append(f"[engine]\ndurable = false\ntarget_partitions = 2\ntimed_choice = {timed}")
        (self.root / "deltakeep.toml").write_text("\n\n".join([*lines, self.settings]) + "\n")

    def open(self) -> Keeper:
        """Open a keeper; the caller closes it."""
        self.configure()
        return Keeper.open(self.root, clock=self.clock)

    def cycle(self, keeper: Keeper, views: Sequence[str] | None = None) -> dict[str, RefreshRecord]:
        """Run one cycle at a later time, and return what was done to each view."""
        self.clock.step()
        report = keeper.run_cycle(views, cause="test")
        return {record.view: record for record in report.views}

    def target(self, view: str) -> Path:
        return self.root / "views_out" / view

    def targets(self) -> dict[str, SourceTable]:
        """Return the targets that exist, as a stranger sees them."""
        folders = {name: self.target(name) for name in self.views}
        return {name: SourceTable(path, pa.schema([])) for name, path in folders.items() if path.exists()}

    def expected(self, view: str, known: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """Recompute a view from the latest versions of the datasets, its input views first."""
        relations = dict(known or {})
        query = self.views[view]
        for name in self.inputs_of(view):
            if name not in relations:
                relations[name] = self.datasets[name].content() if name in self.datasets else self.expected(name)
        return oracle.recompute(query, relations)

    def inputs_of(self, view: str) -> list[str]:
        """Return the relations that a query names."""
        words = set(re.findall(r"\w+", self.views[view]))
        return [name for name in (*self.datasets, *self.views) if name in words and name != view]

    def assert_right(self, *, about: str = "") -> None:
        """Fail unless every view equals its recomputation over the latest versions, and so does its commit's digest."""
        for view in self.views:
            content = oracle.read(self.target(view))
            oracle.assert_equal(self.expected(view), content, about=f'view "{view}" {about}')
            # A commit upon one whose entry is gone has none.
            digest = (self.said(view) or {}).get("content_digest")
            assert digest in (None, content_digest(content)), f'digest of "{view}" {about}'

    def said(self, view: str) -> dict[str, Any] | None:
        """Return what the newest commit of ours to a target says of itself; None if its entry is gone."""
        for entry in sorted((self.target(view) / "_delta_log").glob("*.json"), reverse=True):
            for line in entry.read_text().splitlines():
                if found := json.loads(line).get("commitInfo", {}).get("deltakeep"):
                    return dict(found)
        return None
