"""What tests and lints need is what the module is built of: no dependency is compiled a second time for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import defaultdict

import pytest

from tests.sources import ROOT

BUILD = ("--release", "--locked", "--offline")
MODULE = ("rustc", *BUILD, "--manifest-path", "rust/datafusion_ext/Cargo.toml", "--lib")
TESTS = ("build", *BUILD, "--workspace", "--lib", "--tests")
Features = dict[tuple[str, str | None], set[tuple[str, ...]]]


def features(command: tuple[str, ...]) -> Features:
    """Give the sets of features in which a command of cargo compiles each package; it compiles nothing."""
    # The plan of a build is told by a switch that stable releases keep closed.
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1"}
    told = subprocess.run(
        ("cargo", *command, "--unit-graph", "-Z", "unstable-options"),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: Features = defaultdict(set)
    for unit in json.loads(told.stdout)["units"]:
        if unit["mode"] != "test":
            found[unit["pkg_id"], unit["platform"]].add(tuple(unit["features"]))
    return found


@pytest.mark.skipif(shutil.which("cargo") is None, reason="there is no cargo to ask")
def test_tests_share_every_dependency_with_the_module() -> None:
    module, tests = features(MODULE), features(TESTS)
    assert any("datafusion" in package for package, _ in module)
    twice = {package: tests[package] - known for package, known in module.items() if tests[package] - known}
    assert not twice, "another set of features compiles these, and all that is above them, again"
