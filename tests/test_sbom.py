"""The bill of materials has every locked package once, as the lock files have it, and is valid CycloneDX."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from typing import Any

import pytest
from cyclonedx.validation.json import JsonStrictValidator

from tests.sbom import VERSION, as_json, bill_of_materials
from tests.sources import ROOT


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(as_json(bill_of_materials()))
    return found


def test_the_bill_is_valid(bill: dict[str, Any]) -> None:
    assert JsonStrictValidator(VERSION).validate_str(json.dumps(bill)) is None
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "deltakeep")


def test_every_locked_package_is_in_it_once_with_its_version(bill: dict[str, Any]) -> None:
    pins = re.findall(r"^([^#\s=]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    crates = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    expected = Counter({("pypi", re.sub(r"[-_.]+", "-", name).lower(), version): 1 for name, version in pins})
    expected.update(("cargo", one["name"], one["version"]) for one in crates)
    found = Counter((one["bom-ref"].split("/")[0], one["name"], one["version"]) for one in bill["components"])
    assert found == expected


def test_crates_carry_their_checksums_and_ours_need_theirs(bill: dict[str, Any]) -> None:
    crates = {(one["name"], one["version"]): one for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    for one in bill["components"]:
        if not one["bom-ref"].startswith("cargo/"):
            continue
        checksum = crates[one["name"], one["version"]].get("checksum")
        assert [each["content"] for each in one.get("hashes", [])] == ([] if checksum is None else [checksum])
        assert ("purl" in one) == (checksum is not None)
    needs = {one["ref"]: set(one.get("dependsOn", ())) for one in bill["dependencies"]}
    lake = next(ref for ref in needs if re.fullmatch(r"cargo/(deltakeep[-_])?lake@.*", ref))
    assert any(ref.startswith("cargo/deltalake") for ref in needs[lake])


def test_what_users_get_is_told_from_what_only_tests_need(bill: dict[str, Any]) -> None:
    scopes = {one["name"]: one["scope"] for one in bill["components"] if one["bom-ref"].startswith("pypi/")}
    assert {scopes[name] for name in ("uvicorn", "starlette", "pydantic-core", "pyarrow")} == {"required"}
    assert scopes["openlineage-python"] == "optional"
    assert {scopes[name] for name in ("pytest", "ruff", "schemathesis")} == {"excluded"}


def test_the_same_locks_have_the_same_serial_number(bill: dict[str, Any]) -> None:
    assert json.loads(as_json(bill_of_materials()))["serialNumber"] == bill["serialNumber"]
