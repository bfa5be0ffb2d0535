"""Imports run one way, and each edge is known to one place only (docs/architecture.md)."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from tests.sources import CRATES, PACKAGES, ROOT, PythonFile, python_files, rust_code, rust_files

LAYERS = ("datafusion_ext", "registry", "incremental", "daemon")
CRATES_BELOW = {
    "functions": set(),
    "lake": set(),
    "maintenance": {"functions"},
    "engine": {"functions", "lake", "maintenance"},
    "datafusion_ext": {"functions", "lake", "maintenance", "engine"},
}
CLOCK_CALLS = re.compile(
    r"(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)"
    r"|(datetime\.)*(datetime|date)\.(now|utcnow|today))"
)
FOREIGN_CRATES = [
    ("pyo3", "datafusion_ext"),
    ("deltalake", "lake"),
    ("deltalake_core", "lake"),
    ("delta_kernel", "lake"),
]
SHIPPED = python_files(*PACKAGES)
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager", "managers", "impl"}


def names(files: list[PythonFile]) -> list[str]:
    return [file.name for file in files]


@pytest.mark.parametrize("file", SHIPPED, ids=names(SHIPPED))
def test_a_layer_imports_only_what_is_below_it(file: PythonFile) -> None:
    own = LAYERS.index(file.name.split("/")[0])
    above = set(LAYERS[own + 1 :])
    found = {module for module in file.imports() if module.split(".")[0] in above}
    assert not found, f"{file.name} imports {sorted(found)} from above it"


def test_the_native_module_is_known_to_its_package_and_the_registry_only() -> None:
    knowing = [file.name for file in SHIPPED if any(name.split(".")[0] == "datafusion_ext" for name in file.imports())]
    assert all(name.startswith(("datafusion_ext/", "registry/")) for name in knowing), knowing
    inside = [file.name for file in SHIPPED if "datafusion_ext._native" in file.imports()]
    assert all(name.startswith("datafusion_ext/") for name in inside), inside


def test_the_package_of_the_native_module_imports_no_datafusion_when_it_is_imported() -> None:
    eager = [
        f"{file.name}: {module}"
        for file in SHIPPED
        if file.name.startswith("datafusion_ext/")
        for module in file.imports_at_start()
        if module.split(".")[0] not in {"datafusion_ext", *sys.stdlib_module_names}
    ]
    assert not eager


def test_one_file_makes_engines() -> None:
    making = {file.name for file in SHIPPED if {"Engine", "datafusion_ext.Engine"} & set(file.calls())}
    assert making == {"registry/session.py"}


def test_only_the_clock_file_asks_the_clock() -> None:
    asking = {f"{file.name}: {call}" for file in SHIPPED for call in file.calls() if CLOCK_CALLS.fullmatch(call)} - {
        f"daemon/clock.py: {call}" for call in next(f for f in SHIPPED if f.name == "daemon/clock.py").calls()
    }
    assert not asking


def test_only_the_daemon_knows_sockets_and_signals() -> None:
    edges = {"socket", "asyncio", "uvicorn", "starlette", "watchfiles", "apscheduler", "prometheus_client"}
    knowing = {
        f"{file.name}: {module}"
        for file in SHIPPED
        for module in file.imports()
        if module.split(".")[0] in edges and not file.name.startswith("daemon/")
    }
    assert not knowing
    handling = [file.name for file in SHIPPED if "signal.signal" in file.calls()]
    assert all(name.startswith("daemon/") for name in handling), handling


def test_no_other_engine_is_used() -> None:
    engines = {"pandas", "polars", "duckdb", "ibis", "sqlglot", "pyspark"}
    using = {file.name for file in SHIPPED for module in file.imports() if module.split(".")[0] in engines}
    assert not using


def test_one_file_opens_stores() -> None:
    """Whatever a URL and options lead to: another kind of store has one place to be added at."""
    opening = re.compile(r"\b(logstore_for|logstore_with|parse_url|parse_url_opts|\w+Builder::from_url)\s*\(")
    files = {path for crate in CRATES for path in rust_files(crate) if opening.search(rust_code(path))}
    assert {path.relative_to(ROOT).as_posix() for path in files} == {"rust/lake/src/lake.rs"}


@pytest.mark.parametrize("crate", CRATES)
def test_a_crate_depends_only_on_those_below_it(crate: str) -> None:
    manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text())
    found = set(manifest.get("dependencies", {})) & set(CRATES)
    assert found <= CRATES_BELOW[crate]


@pytest.mark.parametrize("crate", CRATES)
@pytest.mark.parametrize(
    ("word", "owner"),
    [("pyo3", "datafusion_ext"), ("deltalake", "lake"), ("deltalake_core", "lake"), ("delta_kernel", "lake")],
)
def test_a_foreign_crate_is_named_by_its_owner_only(crate: str, word: str, owner: str) -> None:
    if crate == owner:
        return
    manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text())
    assert word.replace("_", "-") not in manifest.get("dependencies", {})
    naming = [path.name for path in rust_files(crate) if re.search(rf"\b{word}::", rust_code(path))]
    assert not naming


def test_a_file_is_named_for_a_concept() -> None:
    paths = [file.path for file in SHIPPED] + [path for crate in CRATES for path in rust_files(crate)]
    assert not [path.relative_to(ROOT).as_posix() for path in paths if path.stem in NAMELESS]
