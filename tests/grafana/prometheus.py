"""A real Prometheus on loopback, and what it answers."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60
EVERY_MS: Final = 250
"""How often it scrapes and evaluates."""

CONFIGURATION: Final = """\
global:
  scrape_interval: {every}ms
  scrape_timeout: {every}ms
  evaluation_interval: {every}ms
rule_files: {rules}
scrape_configs:
  - job_name: deltakeep
    static_configs:
      - targets: ["{target}"]
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where it answers."""

    url: str

    def instant(self, expr: str) -> list[Any]:
        """The samples of now."""
        return self._numbers("query", query=expr)

    def over(self, expr: str, seconds: int) -> list[Any]:
        """The series of the last seconds, one sample a second."""
        now = float(self._ask("query", query="time()")["result"][1])
        return self._numbers("query_range", query=expr, start=str(now - seconds), end=str(now), step="1")

    def value(self, expr: str) -> float | None:
        """The one sample of now; None where there is none."""
        found = self.instant(expr)
        return None if not found else float(found[0]["value"][1])

    def rules(self) -> dict[str, tuple[str, str]]:
        """Each rule with its health and its last error."""
        groups = self._ask("rules")["groups"]
        return {rule["name"]: (rule["health"], rule.get("lastError", "")) for one in groups for rule in one["rules"]}

    def _numbers(self, what: str, **asked: str) -> list[Any]:
        """Series with at least one finite sample: NaN is what a division by nothing gives, and shows nothing."""
        found = self._ask(what, **asked)
        series = [{"value": found["result"]}] if found["resultType"] == "scalar" else found["result"]
        return [one for one in series if any(map(_finite, one["values"] if "values" in one else [one["value"]]))]

    def _ask(self, what: str, **asked: str) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{asked}: {error.read().decode()}") from error


def _finite(sample: Any) -> bool:
    return math.isfinite(float(sample[1]))


@contextmanager
def prometheus(folder: Path, target: str, rules: list[Path]) -> Iterator[Prometheus]:
    """Run one that scrapes `target` and evaluates `rules`."""
    folder.mkdir()
    listed = json.dumps([str(one) for one in rules])
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(every=EVERY_MS, rules=listed, target=target))
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            one = Prometheus(f"http://127.0.0.1:{port}")
            until("Prometheus is up", lambda: process.poll() is None and _answers(f"{one.url}/-/ready"))
            yield one
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _answers(url: str) -> bool:
    try:
        return fetch(url) is not None
    except OSError:
        return False


def fetch(url: str) -> str:
    """The text at a url; an answer other than 200 is an `OSError`."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Look again and again; fail with what was waited for."""
    pause = threading.Event()
    for _ in range(int(patience_s * 20)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError(f"waited {patience_s} s in vain: {what}")
