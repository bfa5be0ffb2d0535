from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from registry.errors import EXIT_CONFIGURATION, DefinitionError
from registry.project import Project, load_project
from registry.view import PythonDefinition, RecomputeWrites, RefreshPolicy, SqlDefinition
from tests.registry.conftest import PROJECT, WriteProject

FULL = """\
[project]
name = "shop"
store = "artifacts"
targets = "s3://bucket/views/"
storage_options = { aws_secret_access_key = "env:SHOP_SECRET" }

[datasets.orders]
uri = "lake/orders"
storage_options = { token = "env:SHOP_SECRET", region = "eu" }
poll = "1m30s"
trusted_writers = ["spark/"]

[datasets.customers]
uri = "/data/customers"

[defaults]
target_lag = "5m"
refresh = "incremental"
target_file_size = "64MiB"
change_data_feed = false

[engine]
memory = "2GB"
spill = "/scratch"
target_partitions = 4
durable = false
concurrency = 3
settings = { "datafusion.execution.batch_size" = 4096 }

[daemon]
socket = "run/keeper.sock"
listen = "0.0.0.0:9000"
log = "json"
"""

SQL = """\
/*
target_lag = "1h"
partition_by = ["day"]
refresh = "auto"
deletion_vectors = true
recompute_writes = "difference"
compact = false
properties = { "delta.checkpointInterval" = 10 }
description = "What was sold, by day"
*/

-- the query
SELECT day, sum(amount) AS amount FROM orders GROUP BY day;
"""

Listing = Callable[[Path, str], Iterable[Path]]

PYTHON = """\
from datafusion import DataFrame
from registry.authoring import view


def helper(frame):
    return frame


@view(target_lag="10s", partition_by=["day"])
def late(orders: DataFrame, customers: DataFrame) -> DataFrame:
    return helper(orders)
"""


def problems_of(root: Path, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load_project(root, environment or {})
    assert caught.value.exit_code == EXIT_CONFIGURATION
    return [str(problem) for problem in caught.value.problems]


def test_a_full_project_is_read_with_absolute_places(write_project: WriteProject) -> None:
    root = write_project(FULL, daily_sql=SQL, late_py=PYTHON)
    project = load_project(root, {"SHOP_SECRET": "hunter2"})

    assert project.name == "shop"
    assert project.store == (root / "artifacts").as_uri()
    orders = project.datasets["orders"]
    assert orders.table.uri == (root / "lake/orders").as_uri()
    assert dict(orders.table.options) == {"token": "hunter2", "region": "eu"}
    assert (orders.poll_ms, orders.trusted_writers) == (90_000, ("spark/",))
    assert project.datasets["customers"].table.uri == "file:///data/customers"
    assert project.engine.memory_bytes == 2_000_000_000
    assert project.engine.spill == Path("/scratch")
    assert project.engine.settings == {"datafusion.execution.batch_size": "4096"}
    assert project.daemon.socket == root / "run/keeper.sock"

    daily = project.views["daily"]
    assert isinstance(daily.definition, SqlDefinition)
    assert daily.definition.text == "-- the query\nSELECT day, sum(amount) AS amount FROM orders GROUP BY day"
    assert daily.definition.line == 12
    assert daily.target.uri == "s3://bucket/views/daily"
    assert daily.target.options == {"aws_secret_access_key": "hunter2"}
    assert (daily.target_lag_ms, daily.refresh) == (3_600_000, RefreshPolicy.AUTO)
    assert daily.write.recompute_writes is RecomputeWrites.DIFFERENCE
    assert not daily.write.compact
    assert daily.write.table_properties() == {
        "delta.checkpointInterval": "10",
        "delta.enableChangeDataFeed": "false",
        "delta.enableDeletionVectors": "true",
        "delta.targetFileSize": str(64 * 1024 * 1024),
    }

    late = project.views["late"]
    assert isinstance(late.definition, PythonDefinition)
    assert late.definition.parameters == ("orders", "customers")
    assert late.partition_by == ("day",)
    assert late.refresh is RefreshPolicy.INCREMENTAL
    assert str(late.source) == "views/late.py:10"


def test_secrets_are_shown_nowhere(write_project: WriteProject) -> None:
    project = load_project(write_project(FULL), {"SHOP_SECRET": "hunter2"})
    for shown in (repr(project), str(project.to_json()), str(project.datasets["orders"].table.model_dump())):
        assert "hunter2" not in shown
    assert "hunter2" in project.datasets["orders"].table.to_json_text()


def test_a_variable_that_is_not_set_is_named_without_any_value(write_project: WriteProject) -> None:
    found = problems_of(write_project(FULL))
    assert len(found) == 2
    assert found[0].startswith('deltakeep.toml:5: "project.storage_options" has a wrong value')
    assert 'the environment variable "SHOP_SECRET" for the option "token"' in found[1]
    assert "eu" not in found[1].partition("expected")[0]


def test_a_view_keeps_its_id_when_its_query_and_place_change(write_project: WriteProject) -> None:
    first = load_project(write_project(PROJECT, a_sql="SELECT 1 FROM orders")).views["a"].id
    second = load_project(write_project(PROJECT, a_sql='/* target = "other" */ SELECT 2 FROM orders')).views["a"].id
    assert first == second


def test_all_problems_are_told_in_one_pass(write_project: WriteProject) -> None:
    root = write_project(
        '[project]\nname = "My Shop"\n[datasets.orders]\nuri = "lake/orders"\npol = "10s"\n[engine]\nmemory = "4XB"\n'
        "[daemn]\n",
        a_sql='/*\nrefesh = "auto"\ntarget_lag = 5\n*/\nSELECT 1 FROM orders',
        b_sql="/* target_lag = 1m */ SELECT 1",
        c_sql="-- nothing\n",
        late_py="from registry.authoring import view\n\n@view(refresh='never')\ndef late(orders): ...\n",
    )
    found = [problem.split("\n")[0].split(";")[0] for problem in problems_of(root)]
    assert found == [
        'deltakeep.toml:2: "project.name" is "My Shop"',
        'deltakeep.toml:5: unknown key "datasets.orders.pol"',
        'deltakeep.toml:7: "engine.memory" is "4XB"',
        'deltakeep.toml:8: unknown key "daemn"',
        'views/a.sql:2: unknown key "refesh"',
        'views/a.sql:3: "target_lag" is 5',
        "views/b.sql:1: not valid TOML: Expected newline or end of document after a statement",
        "views/c.sql:1: there is no query",
        'views/late.py:3: "refresh" is "never"',
    ]


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('[project]\nnam = "shop"', '"name" is missing in [project]'),
        ('[project]\nname = "shop"\n[datasets.orders]\n', '"uri" is missing in [datasets.orders]'),
        ('[project]\nname = "shop"\n[datasets]\nOrders = { uri = "x" }', '"Orders" is not a name for a dataset'),
        ('[project]\nname = "shop"\n[datasets.a]\nuri="x"\n[datasets.b]\nuri="./x/"', '"a" and "b" are the same table'),
        ('[project]\nname = "shop"\n[daemon]\nlisten = "9187"', '"daemon.listen" is "9187"'),
        ('[project]\nname = "shop"\n[engine]\ndurable = "true"', "hint: write it without quotes"),
        ('[project]\nname = "shop"\n[defaults]\ntarget_lag = "1 fortnight"', 'a duration such as "10s"'),
        ('[project]\nname = "shop"\n[defaults]\ntarget = "x"', 'unknown key "defaults.target"'),
        ("[project]\nname = shop", "hint: put the value of name in quotes"),
        ('[project]\nname = "shop"\ndatasets = 3\n[engine]\n', 'unknown key "project.datasets"'),
        ("datasets = 3\n[project]\nname = 'shop'", '"datasets" is not a table'),
        ('[project]\nname = "shop"\n[datasets.a]\nuri = "x"\npoll = "1ms"', "at least 100ms"),
        (
            '[project]\nname = "shop"\n[defaults]\nproperties = { "delta.enableRowTracking" = true }',
            "the writer cannot keep row ids",
        ),
    ],
)
def test_a_wrong_project_file_is_explained(write_project: WriteProject, toml: str, expected: str) -> None:
    assert expected in "\n".join(problems_of(write_project(toml)))


def test_a_missing_project_file_says_how_to_begin(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path)
    assert "deltakeep.toml: the file does not exist" in found
    assert "daemonctl init" in found


def test_a_file_that_is_not_utf8_is_named(write_project: WriteProject) -> None:
    root = write_project(PROJECT)
    (root / "views" / "a.sql").write_bytes(b"SELECT '\xff' FROM orders")
    assert "views/a.sql: byte 8 is not UTF-8" in problems_of(root)[0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"orders_sql": "SELECT 1"}, 'view "orders" has the name of the dataset at deltakeep.toml:4'),
        (
            {"a_sql": "SELECT 1", "z_py": "from registry.authoring import view\n@view\ndef a(orders): ...\n"},
            'view "a" has the name of the view at views/a.sql:1',
        ),
        (
            {"a_sql": "SELECT 1", "b_sql": '/* target = "views_out/a/" */ SELECT 1'},
            'of view "b" is the target of view "a" at views/a.sql:1',
        ),
        ({"a_sql": '/* target = "lake/orders" */ SELECT 1'}, 'of view "a" is dataset "orders"'),
        ({"a_sql": '/* target = "lake/orders/x" */ SELECT 1'}, 'of view "a" lies inside dataset "orders"'),
        ({"a_sql": '/* target = "lake" */ SELECT 1'}, 'dataset "orders" at deltakeep.toml:4 lies inside the target'),
        ({"a_sql": '/* target = "state/x" */ SELECT 1'}, "lies inside the project's store"),
        ({"Daily_sql": "SELECT 1"}, 'rename the file: its name is the view\'s; use "daily"'),
    ],
)
def test_names_and_places_that_are_taken_are_refused(
    write_project: WriteProject, files: dict[str, str], expected: str
) -> None:
    (found,) = problems_of(write_project(PROJECT, **files))
    assert expected in found


def test_a_target_that_reaches_a_source_through_a_link_is_refused(write_project: WriteProject) -> None:
    root = write_project(PROJECT, a_sql='/* target = "elsewhere/orders" */ SELECT 1')
    (root / "lake").mkdir()
    (root / "elsewhere").symlink_to(root / "lake")
    assert 'is dataset "orders"' in problems_of(root)[0]


def test_each_place_is_resolved_once_however_many_there_are(
    write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = {f"v{number}_sql": "SELECT 1" for number in range(300)}
    root = write_project(PROJECT, **views)
    resolved: Counter[str] = Counter()
    real = os.path.realpath

    def counted(path: Path) -> str:
        resolved[str(path)] += 1
        return real(path)

    monkeypatch.setattr("registry.location.os.path.realpath", counted)
    assert len(load_project(root).views) == 300
    assert max(resolved.values()) <= 2
    assert len(resolved) == 302


def in_order(listed: Listing, *, backwards: bool) -> Listing:
    """List the files of a folder as a file system would that keeps them in this order."""
    return lambda folder, pattern: sorted(listed(folder, pattern), reverse=backwards)


def test_the_order_of_a_directory_decides_nothing(write_project: WriteProject, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = {f"{name}_sql": f"SELECT {number} FROM orders" for number, name in enumerate("bc")}
    root = write_project(FULL, daily_sql=SQL, late_py=PYTHON, **queries)
    (root / "views" / "helpers.py").write_text("LIMIT = 1\n")
    (root / "functions").mkdir()
    for name in ("doubled", "halved"):
        text = f"CREATE FUNCTION {name}(x double) RETURNS double RETURN x"
        (root / "functions" / f"{name}.sql").write_text(text)
    projects = []
    for backwards in (False, True):
        with monkeypatch.context() as patched:
            for method in ("glob", "rglob"):
                patched.setattr(Path, method, in_order(getattr(Path, method), backwards=backwards))
            projects.append(load_project(root, {"SHOP_SECRET": "hunter2"}))
    one, other = projects
    assert list(one.views) == list(other.views) == ["b", "c", "daily", "late"]
    assert list(one.functions) == list(other.functions) == ["doubled", "halved"]
    assert [view.definition for view in one.views.values()] == [view.definition for view in other.views.values()]
    assert one.to_json() == other.to_json()


def test_names_with_spaces_become_valid_uris(tmp_path: Path) -> None:
    root = tmp_path / "my project"
    root.mkdir()
    (root / "deltakeep.toml").write_text(PROJECT)
    project: Project = load_project(root)
    assert project.datasets["orders"].table.uri.endswith("/my%20project/lake/orders")
