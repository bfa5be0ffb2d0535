from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from datafusion import LogicalPlan, SessionContext

from registry.dataset import SourcePosition, TableRef
from registry.delta_schema import arrow_schema
from registry.errors import DefinitionError, MustStop
from registry.python_views import WorkerLimits, plan_python_view
from registry.view import DeltaWriteSpec, PythonDefinition, RefreshPolicy, View
from tests.registry.conftest import delta_schema

SCHEMAS = {"orders": delta_schema(day="date", at="timestamp", amount="decimal(10,2)", who="string")}
HEAD = "from datafusion import col, lit, functions as f\nfrom registry.authoring import view\n\n"


def view_of(folder: Path, source: str) -> View:
    path = folder / "v.py"
    path.write_text(HEAD + source, encoding="utf-8")
    return View(
        name="v",  # type: ignore[arg-type]
        id="id",
        definition=PythonDefinition(str(path), "v", ("orders",), "digest", 5),
        target=TableRef(uri="file:///target"),
        target_lag_ms=1,
        refresh=RefreshPolicy.AUTO,
        write=DeltaWriteSpec(),
        source=SourcePosition("views/v.py", 5),
    )


def plan(folder: Path, source: str, limits: WorkerLimits | None = None) -> bytes:
    return plan_python_view(view_of(folder, source), SCHEMAS, limits)


def mistake(folder: Path, source: str, limits: WorkerLimits | None = None) -> str:
    with pytest.raises(DefinitionError) as caught:
        plan(folder, source, limits)
    return str(caught.value)


SUMS = """\
@view(target_lag="1m")
def v(orders):
    return orders.filter(col("who") != lit("x")).aggregate([col("day")], [f.sum(col("amount")).alias("amount")])
"""


def test_the_bytes_are_a_plan_and_equal_in_every_process_and_folder(tmp_path: Path) -> None:
    first = plan(tmp_path, SUMS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert plan(elsewhere, SUMS) == first
    assert str(tmp_path).encode() not in first


def test_a_clock_stays_a_clock(tmp_path: Path) -> None:
    assert b"now" in plan(tmp_path, '@view\ndef v(orders):\n    return orders.filter(col("at") < f.now())\n')


def test_a_plan_that_differs_between_two_calls_is_refused(tmp_path: Path) -> None:
    source = "import random\n@view\ndef v(orders):\n    return orders.filter(col('amount') > lit(random.random()))\n"
    assert "two calls made two different plans" in mistake(tmp_path, source)


def test_the_functions_of_other_files_under_views_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("def keep(frame):\n    return frame.limit(3)\n")
    assert plan(tmp_path, "from shared import keep\n\n@view\ndef v(orders):\n    return keep(orders)\n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@view\ndef v(orders):\n    return orders.filter(col('nope') > lit(1))\n", 'views/v.py:6: view "v": '),
        ("@view\ndef v(orders):\n    return 3\n", "the function returned a int, not a DataFrame"),
        ("@view\ndef v(orders):\n    raise KeyError('x')\n", "views/v.py:6: view \"v\": KeyError: 'x'"),
        ("import nope\n@view\ndef v(orders): ...\n", 'views/v.py:4: view "v": ModuleNotFoundError'),
        ("@view\ndef v(orders):\n    import os\n    os._exit(3)\n", "ended its process (exit code 3)"),
        ("@view\ndef v(orders):\n    raise SystemExit(0)\n", 'views/v.py:6: view "v": SystemExit: 0'),
        ("@view\ndef v(orders):\n    import os\n    os.abort()\n", "ended its process (signal SIGABRT)"),
        ("@view\ndef v(orders):\n    x = bytearray(1 << 40)\n", "MemoryError"),
        ("@view\ndef v(orders):\n    open('big', 'wb').write(bytes(1 << 27))\n", "File too large"),
        ("@view\ndef w(orders): ...\n", 'has no function "v"'),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, source: str, expected: str) -> None:
    assert expected in mistake(tmp_path, source)


def test_a_view_that_does_not_end_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    source = (
        "@view\ndef v(orders):\n    import subprocess\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "    child.wait()\n"
    )
    assert "was stopped after 4 s" in mistake(tmp_path, source, WorkerLimits(seconds=4))
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_secrets_of_the_environment_do_not_reach_user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    source = "@view\ndef v(orders):\n    import os\n    raise ValueError(sorted(os.environ))\n"
    assert "AWS_SECRET_ACCESS_KEY" not in mistake(tmp_path, source)


def test_what_user_code_prints_does_not_reach_our_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan(tmp_path, "print('noise')\n" + SUMS)
    assert capfd.readouterr() == ("", "")


def test_the_module_of_a_view_is_not_imported_here(tmp_path: Path) -> None:
    plan(tmp_path, "import os\nos.environ['DELTAKEEP_TOUCHED'] = '1'\n" + SUMS)
    assert "DELTAKEEP_TOUCHED" not in os.environ
    assert "v" not in sys.modules


def test_the_decorator_needs_nothing_heavy() -> None:
    code = "import sys, registry.authoring; print({'pydantic', 'pyarrow', 'datafusion'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_delta_type_is_seen_as_the_engine_sees_it() -> None:
    nested = {
        "type": "struct",
        "fields": [
            {"name": "a", "type": {"type": "array", "elementType": "string", "containsNull": False}, "nullable": False},
            {"name": "m", "type": {"type": "map", "keyType": "string", "valueType": "long", "valueContainsNull": True}},
        ],
    }
    text = json.dumps({"type": "struct", "fields": [{"name": "s", "type": nested, "nullable": True}]})
    expected = pa.struct(
        [
            pa.field("a", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
            pa.field("m", pa.map_(pa.string(), pa.int64())),
        ]
    )
    assert arrow_schema(text).field("s").type == expected
    flat = arrow_schema(delta_schema(t="timestamp", n="timestamp_ntz", d="decimal(12,3)", b="byte"))
    assert flat.types == [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.decimal128(12, 3), pa.int8()]


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(MustStop, match='column "v" has the Delta type variant'):
        arrow_schema(delta_schema(v="variant"))


def test_the_plan_can_be_read_by_datafusion(tmp_path: Path) -> None:
    context = SessionContext()
    read = LogicalPlan.from_bytes(context, plan(tmp_path, SUMS))
    assert "Aggregate: groupBy=[[orders.day]]" in read.display_indent()
