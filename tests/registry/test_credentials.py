"""Secrets by reference: read from the folder of credentials only, and never told."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.credentials import FOLDER_VARIABLE, CredentialMissing, read_credential
from registry.errors import DefinitionError
from registry.project import load_project

PROJECT = """[project]
name = "shop"
storage_options = { secret_access_key = "credential:lake-key", region = "eu" }
"""


def project(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    (folder / "deltakeep.toml").write_text(PROJECT)
    (folder / "views").mkdir(exist_ok=True)
    return dict(load_project(folder, environment).store_table.options)


def test_an_option_of_a_store_is_taken_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "lake-key").write_text("hunter2\n")
    # The name is systemd's, not ours.
    found = project(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == {"secret_access_key": "hunter2", "region": "eu"}


def test_a_missing_credential_is_a_problem_that_names_it(tmp_path: Path) -> None:
    for environment in ({}, {FOLDER_VARIABLE: str(tmp_path)}):
        with pytest.raises(DefinitionError) as caught:
            project(tmp_path, environment)
        (problem,) = caught.value.problems
        assert 'the credential "lake-key"' in problem.expected
        assert "LoadCredential=lake-key:FILE" in problem.hint


@pytest.mark.parametrize("name", ["../passwd", "a/b", "", ".hidden", "/etc/passwd"])
def test_a_name_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("hunter2")
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(CredentialMissing) as caught:
        read_credential(name, {FOLDER_VARIABLE: str(inner)})
    assert "hunter2" not in str(caught.value)


def test_bytes_that_are_no_text_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"hunter2\xff")
    with pytest.raises(CredentialMissing) as caught:
        read_credential("key", {FOLDER_VARIABLE: str(tmp_path)})
    assert "hunter2" not in str(caught.value)
