"""`[notifications.NAME]`, `[lineage]` and `[tracing]` of a project file: what is taken, what is told about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.errors import DefinitionError
from registry.integrations import IntegrationSettings, LineageSettings, TracingSettings, WebhookSettings
from registry.project import load_project, read_settings
from registry.secrets import masked
from tests.registry.conftest import WriteProject

SECRET = "a secret of sixteen and more"
ENVIRONMENT = {"HOOK": "https://example.org/services/T1/B2/hidden-hook", "SECRET": SECRET}


def settings(write_project: WriteProject, text: str) -> IntegrationSettings:
    root = write_project(f'[project]\nname = "shop"\n{text}')
    return load_project(root, ENVIRONMENT).integrations


def problems(write_project: WriteProject, text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        settings(write_project, text)
    return str(caught.value)


def test_nothing_is_told_to_anybody_by_default(write_project: WriteProject) -> None:
    assert settings(write_project, "") == IntegrationSettings()


def test_everything_that_can_be_said_is_read(write_project: WriteProject) -> None:
    found = settings(
        write_project,
        """
[notifications.ops]
url = "env:HOOK"
secret = "env:SECRET"
notifications = ["failed"]
views = ["clean"]
headers = { Authorization = "Bearer hidden-header" }
timeout = "2s"
[notifications.chat]
url = "http://127.0.0.1:8080/hook"
[lineage]
transport = "file"
file = "state/lineage.jsonl"
namespace = "shops"
[tracing]
exporter = "otlp"
headers = { X-Key = "hidden-tracing" }
""",
    )
    headers = {"Authorization": "Bearer hidden-header"}
    assert found.webhooks == (
        WebhookSettings("ops", ENVIRONMENT["HOOK"], SECRET, ("failed",), ("clean",), headers, 2_000),
        WebhookSettings("chat", "http://127.0.0.1:8080/hook"),
    )
    assert found.lineage is not None
    assert found.lineage.file is not None
    assert found.lineage.file.parts[-2:] == ("state", "lineage.jsonl")
    assert found.tracing == TracingSettings(
        "otlp", "deltakeep", "http://127.0.0.1:4318/v1/traces", {"X-Key": "hidden-tracing"}
    )
    for text in (ENVIRONMENT["HOOK"], SECRET, "Bearer hidden-header", "hidden-tracing"):
        assert text not in repr(found)
        assert masked(text) == "***"
    assert masked("http://127.0.0.1:8080/hook") == "http://127.0.0.1:8080/hook"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[notifications.ops]\n", '"url" is missing in [notifications.ops]'),
        ('[notifications.ops]\nurl = "ftp://x/y"', 'expected an address such as "https://example.org/hook"'),
        ('[notifications.ops]\nurl = "http://[x"', "expected an address"),
        ('[notifications.ops]\nurl = "env:NOSUCH"', 'the environment variable "NOSUCH"'),
        ('[notifications.ops]\nurl = "http://x"\nsecret = "hidden-one"', "at least 16 characters"),
        ('[notifications.ops]\nurl = "http://x"\nnotifications = ["broken"]', "some of failed, late, reload_failed"),
        ('[notifications.ops]\nurl = "http://x"\nheaders = { "a b" = "hidden-two" }', "names of headers"),
        ('[notifications.ops]\nurl = "http://x"\nheaders = { a = "hidden\\nthree" }', "names of headers"),
        ('[notifications.ops]\nurl = "http://x"\nevents = []', 'unknown key "notifications.ops.events"'),
        ('[notifications]\nurl = "http://x"', '"notifications.url" is not a table'),
        ('[lineage]\ntransport = "kafka"', 'one of "http", "file", "console"'),
        ('[lineage]\nurl = "http://x"', '"lineage.transport" is missing'),
        ('[lineage]\ntransport = "http"', 'a "url" beside it'),
        ('[lineage]\ntransport = "file"', 'a "file" beside it'),
        ('[tracing]\nurl = "http://x"', '"tracing.exporter" is missing'),
        ('[tracing]\nexporter = "zipkin"', 'one of "otlp", "console"'),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_its_secret(
    write_project: WriteProject, text: str, told: str
) -> None:
    said = problems(write_project, text)
    assert told in said
    assert "deltakeep.toml:" in said
    assert "hidden" not in said


def test_the_settings_alone_are_read_without_the_views_and_not_from_a_broken_file(write_project: WriteProject) -> None:
    root = write_project('[project]\nname = "shop"\n[lineage]\ntransport = "console"\n', broken_sql="SELECT FROM")
    found = read_settings(root, {})
    assert found is not None
    assert found.integrations.lineage == LineageSettings("console", "deltakeep")
    (root / "deltakeep.toml").write_text("[project]\n")
    assert read_settings(root, {}) is None
    assert read_settings(Path("nowhere"), {}) is None
