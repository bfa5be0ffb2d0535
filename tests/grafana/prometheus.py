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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60
SCRAPE_MS: Final = 1_000
"""How often it scrapes, and how long a scrape may take: on a busy machine a short one fails."""
EVALUATE_MS: Final = 500

CONFIGURATION: Final = """\
global:
  scrape_interval: {scrape}ms
  scrape_timeout: {scrape}ms
  evaluation_interval: {evaluate}ms
rule_files: {rules}
scrape_configs:
  - job_name: deltakeep
    static_configs:
      - targets: ["{target}"]
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where it answers; `at` is the moment that it is asked about, None for now.

    What was scraped up to a moment stays as it was, however long one takes to ask.
    """

    url: str
    at: float | None = None

    def instant(self, expr: str) -> list[Any]:
        """The samples of the moment."""
        moment = {} if self.at is None else {"time": str(self.at)}
        return self._numbers("query", query=expr, **moment)

    def over(self, expr: str, seconds: int) -> list[Any]:
        """The series of the seconds before the moment, one sample a second."""
        assert self.at is not None
        return self._numbers("query_range", query=expr, start=str(self.at - seconds), end=str(self.at), step="1")

    def stopped(self) -> Prometheus:
        """The same, about this very moment from now on."""
        return replace(self, at=float(self._ask("query", query="time()")["result"][1]))

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
    (folder / "prometheus.yml").write_text(
        CONFIGURATION.format(scrape=SCRAPE_MS, evaluate=EVALUATE_MS, rules=listed, target=target)
    )
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
