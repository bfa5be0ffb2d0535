"""Where nothing says whether a view has states, the size of its inputs does, once: what is planned stays planned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.artifacts import ArtifactStore
from registry.compiler import STATE_WORTH, Compiled, CompileOptions, compile_project
from registry.names import ViewName
from registry.project import load_project
from registry.session import RuntimeProfile, build_session_runtime
from tests.registry.conftest import WriteProject, delta_schema

SALES = delta_schema(shop="string", items="long")
PROJECT = '[project]\nname = "shops"\n[datasets.sales]\nuri = "sales"\n'
TOTALS = "SELECT shop, sum(items) AS items FROM sales GROUP BY shop"
VIEWS = {
    "named": "SELECT shop, items FROM sales WHERE items > 0",
    "totals": TOTALS,
    "over_named": "SELECT shop, sum(items) AS items FROM named GROUP BY shop",
    "over_totals": "SELECT items, sum(length(shop)) AS letters FROM totals GROUP BY items",
}
Compile = Callable[..., Compiled]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compile the project in a session of its own, as a start of the daemon does."""

    def compile_it(size: int, **options: object) -> Compiled:
        project = load_project(tmp_path)
        runtime = build_session_runtime(RuntimeProfile(spill_directory=str(tmp_path / "spill"), durable=False))
        artifacts = ArtifactStore(runtime, project.store_table)
        chosen = CompileOptions(sizes={"sales": size}, **options)  # type: ignore[arg-type]
        found = compile_project(runtime, project, artifacts, {"sales": SALES}, chosen)
        artifacts.flush()
        return found

    return compile_it


def states(found: Compiled) -> set[str]:
    return {name for name, view in found.views.items() if view.view.state_of is not None}


@pytest.fixture
def views(write_project: WriteProject) -> Path:
    return write_project(PROJECT, **{f"{name}_sql": text for name, text in VIEWS.items()}) / "views"


@pytest.mark.usefixtures("views")
def test_groups_over_small_inputs_are_none(compiled: Compile) -> None:
    assert states(compiled(STATE_WORTH - 1)) == set()


@pytest.mark.usefixtures("views")
def test_those_over_many_rows_are_some_and_those_over_groups_are_none(compiled: Compile) -> None:
    assert states(compiled(STATE_WORTH)) == {"totals__state", "over_named__state"}


@pytest.mark.usefixtures("views")
@pytest.mark.parametrize(("first", "then"), [(1, STATE_WORTH), (STATE_WORTH, 1)])
def test_what_is_planned_stays(compiled: Compile, first: int, then: int) -> None:
    before = compiled(first)
    again = compiled(then)
    assert again.planned == ()
    assert states(again) == states(before)
    replanned = compiled(then, replan=frozenset(map(ViewName, VIEWS)))
    assert set(VIEWS) <= set(replanned.planned)
    assert states(replanned) == states(before)
    assert not replanned.moved


def test_an_edit_decides_again(views: Path, compiled: Compile) -> None:
    assert states(compiled(1)) == set()
    (views / "totals.sql").write_text(TOTALS.replace("sum(items)", "sum(items + 1)"))
    assert states(compiled(STATE_WORTH)) == {"totals__state"}


@pytest.mark.parametrize(
    ("option", "size", "expected"), [("never", STATE_WORTH, set()), ("always", 1, {"totals__state"})]
)
def test_what_is_said_counts(
    write_project: WriteProject, compiled: Compile, option: str, size: int, expected: set[str]
) -> None:
    write_project(PROJECT, totals_sql=f'/* state_table = "{option}" */\n{TOTALS}')
    assert states(compiled(size)) == expected
