from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.session import SessionRuntime
from tests.registry.fake_engine import FakeEngine, runtime_of

PROJECT = """\
[project]
name = "shop"

[datasets.orders]
uri = "lake/orders"
"""

WriteProject = Callable[..., Path]


@pytest.fixture
def write_project(tmp_path: Path) -> WriteProject:
    """Give the function that writes a project: `deltakeep.toml` and view files by their names."""

    def write(toml: str = PROJECT, **files: str) -> Path:
        (tmp_path / "views").mkdir(exist_ok=True)
        (tmp_path / "deltakeep.toml").write_text(toml, encoding="utf-8")
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            (tmp_path / "views" / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def runtime(engine: FakeEngine) -> SessionRuntime:
    return runtime_of(engine)


def delta_schema(**columns: str) -> str:
    """Write a Delta schema string of nullable columns."""
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in columns.items()]
    return json.dumps({"type": "struct", "fields": fields})
