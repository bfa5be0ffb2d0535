"""`python -m grafana.make` writes rules and dashboards; a test holds what is committed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from grafana.boards import Board, board_json
from grafana.dataset import DATASET
from grafana.engine import ENGINE
from grafana.overview import OVERVIEW
from grafana.rule_files import alerts_file, records_file
from grafana.view import VIEW

FOLDER: Final = Path(__file__).resolve().parent

BOARDS: Final[tuple[Board, ...]] = (OVERVIEW, VIEW, DATASET, ENGINE)
FILES: Final[Mapping[str, Callable[[], str]]] = {
    "rules/deltakeep-records.yml": records_file,
    "rules/deltakeep-alerts.yml": alerts_file,
    **{f"dashboards/{board.uid}.json": partial(board_json, board) for board in BOARDS},
}


def write() -> None:
    """Write every file."""
    for name, make in FILES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()
