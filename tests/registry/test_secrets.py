"""Values that were remembered are in no text that was masked, however they are written."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from registry.errors import DefinitionError, MustStop, Problem
from registry.location import place
from registry.project import load_project
from registry.secrets import HIDDEN, LENGTH_MIN, masked, masked_values, remember, remember_options
from registry.toml_document import Unexpected
from tests.registry.conftest import WriteProject


@pytest.fixture
def secret() -> str:
    """A value with everything that some quoting changes."""
    value = f'ca"n/ry+{uuid.uuid4().hex} &é\\'
    remember([value])
    return value


@pytest.mark.parametrize("before", ["", "u:", "us:", "usr:"])
def test_a_value_is_masked_in_base64_wherever_it_starts(secret: str, before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        written = encode(f"{before}{secret} and more".encode()).decode()
        found = masked(f"Authorization: Basic {written}")
        assert HIDDEN in found
        core = written[len(before) + 4 : -16]
        assert core not in found


def test_a_value_is_masked_in_every_quoting(secret: str) -> None:
    for written in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret),
        repr(secret),
    ):
        assert masked(f"<{written}>").replace('"', "").replace("'", "") == f"<{HIDDEN}>"
    assert masked_values({"a": [{"b": f"x{secret}"}, 3, None]}) == {"a": [{"b": f"x{HIDDEN}"}, 3, None]}


def test_short_values_and_places_stay_readable() -> None:
    remember(["x" * (LENGTH_MIN - 1)])
    remember_options({"aws_region": "mars-north-7", "aws_endpoint": "http://mars.invalid", "sas": "mars-secret-7"})
    assert (
        masked("xxxxx mars-north-7 http://mars.invalid mars-secret-7")
        == f"xxxxx mars-north-7 http://mars.invalid {HIDDEN}"
    )
    remember_options({"aws_region": "mars-south-7"}, resolved=["aws_region"])
    assert masked("mars-south-7") == HIDDEN


def test_no_error_carries_a_value(secret: str) -> None:
    error = MustStop("x", f"cannot use {secret}", f"hint {secret}", f"where {secret}")
    assert "ca" + '"n' not in f"{error} {error.args} {error.to_json()}"
    problems = DefinitionError([Problem("f", 1, f"what {secret}", f"expected {secret}", f"hint {secret}")])
    assert secret not in f"{problems} {problems.to_json()}"
    assert HIDDEN in str(problems)


def test_options_of_a_project_are_masked_from_then_on(write_project: WriteProject) -> None:
    written, resolved = f"written-{uuid.uuid4().hex}", f"resolved-{uuid.uuid4().hex}"
    root = write_project(
        f'[project]\nname = "shop"\nstorage_options = {{ aws_secret_access_key = "{written}" }}\n'
        '[datasets.orders]\nuri = "lake/orders"\nstorage_options = { aws_region = "env:WHERE" }\n'
    )
    load_project(root, {"WHERE": resolved})
    assert masked(f"{written} {resolved}") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("uri", ["s3://user:pass-word-9@b/t", "https://h.invalid/t?sig=signed-9&x=1"])
def test_a_uri_with_a_password_or_a_signature_is_refused_without_showing_it(
    uri: str, write_project: WriteProject
) -> None:
    with pytest.raises(Unexpected):
        place(uri)
    root = write_project(f'[project]\nname = "shop"\n[datasets.orders]\nuri = "{uri}"\n')
    with pytest.raises(DefinitionError) as caught:
        load_project(root)
    assert "env:NAME" in str(caught.value)
    assert "pass-word-9" not in str(caught.value)
    assert "signed-9" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://bucket/t", "lake/a?b", "/data/x:y@z", "file:///data/a%3Fb"])
def test_places_without_secrets_stay_as_they_are(uri: str, tmp_path: Path) -> None:
    assert place(uri) == uri
