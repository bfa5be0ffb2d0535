"""`python -m grafana.make` writes rules and dashboards; a test holds what is committed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from grafana.rule_files import alerts_file, records_file

FOLDER: Final = Path(__file__).resolve().parent

FILES: Final[Mapping[str, Callable[[], str]]] = {
    "rules/deltakeep-records.yml": records_file,
    "rules/deltakeep-alerts.yml": alerts_file,
}


def write() -> None:
    """Write every file."""
    for name, make in FILES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()
