"""What lies on disk says its format: a newer one is not guessed at, an older one is read."""

from __future__ import annotations

import json

import pytest

from registry import artifacts, formats
from registry.artifact_rows import Command, PlanRecord
from registry.artifacts import ArtifactStore
from registry.errors import EXIT_CONFIGURATION
from registry.formats import NewerFormat, format_number, newer_commit, require_store_format
from registry.names import CompileKey
from registry.session import SessionRuntime
from tests.registry.test_artifacts import STORE
from tests.registry.test_bundle import bundle


def test_a_store_of_a_newer_format_is_refused_with_what_to_do() -> None:
    for said in ("2", "two"):
        with pytest.raises(NewerFormat, match=f"has format {said}, and this version reads formats up to 1") as caught:
            require_store_format("file:///p/state", {"deltakeep.format": said})
        assert (caught.value.code, caught.value.exit_code) == ("newer_format", EXIT_CONFIGURATION)
        assert "install that version again" in caught.value.hint


def test_stores_of_this_format_and_of_the_one_before_are_read() -> None:
    require_store_format("file:///p/state", {})
    require_store_format("file:///p/state", {"deltakeep.format": "1"})


def test_numbers_of_formats() -> None:
    assert [format_number(one) for one in (None, "0", 1, "2")] == [0, 0, 1, 2]
    assert format_number("1.5") > 1_000_000
    assert newer_commit(None) is None
    assert newer_commit(1) is None
    assert newer_commit(2) is not None


def test_a_store_says_its_format_and_the_next_version_is_refused(
    runtime: SessionRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(artifacts, "_PROPERTIES", {**artifacts._PROPERTIES, "deltakeep.format": "2"})
        ArtifactStore(runtime, STORE, "shop").record_command(Command("pause", "a", "", 1))
    with pytest.raises(NewerFormat):
        ArtifactStore(runtime, STORE, "shop")
    assert artifacts._PROPERTIES["deltakeep.format"] == str(formats.STORE_FORMAT)


def test_a_plan_of_a_newer_format_is_planned_again_and_an_older_one_is_read(
    runtime: SessionRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(runtime, STORE)
    for number, key in ((2, "newer"), (1, "now")):
        monkeypatch.setattr("registry.artifact_rows.BUNDLE_FORMAT", number)
        store.record_plan(PlanRecord(bundle(fingerprint=key), key, recorded_ms=number))
    store.flush()
    found = store.load_bundles()
    assert list(found) == ["now"]
    assert "format" not in found[CompileKey("now")].document
    stored = runtime.query("SELECT bundle_json FROM deltakeep.plan_artifacts").read_all().to_pylist()
    assert sorted(json.loads(row["bundle_json"])["format"] for row in stored) == [1, 2]
