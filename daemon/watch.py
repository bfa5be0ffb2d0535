"""File-system events as hints: new log entries of local tables, and edited definitions.

Invariant: losing every event costs time, never a result; polling finds the same later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from watchfiles import Change, awatch

from daemon.log import logger

LOG_STEP_MS = 10
LOG_DEBOUNCE_MS = 50
DEFINITION_STEP_MS = 200
DEFINITION_DEBOUNCE_MS = 1_000
RETRY_S = 30.0

_LOG_ENTRY = re.compile(r"\d{20}\.json")
_DEFINITION_SUFFIXES = {".sql", ".py", ".toml"}
_log = logger("watch")


async def watch_logs(folders: Mapping[str, str], noticed: Callable[[frozenset[str]], None]) -> None:
    """Call `noticed` with the datasets whose log got an entry; `folders` maps dataset to log folder.

    Folders that do not exist are left to polling.  Runs until cancelled.
    """
    there = existing_folders(folders.values())
    existing = {dataset: folder for dataset, folder in folders.items() if folder in there}
    if not existing:
        return
    datasets: dict[str, set[str]] = {}
    for dataset, folder in existing.items():
        datasets.setdefault(folder, set()).add(dataset)

    def is_entry(change: Change, path: str) -> bool:
        return change is not Change.deleted and _LOG_ENTRY.fullmatch(Path(path).name) is not None

    async def follow() -> None:
        async for changes in awatch(
            *sorted(datasets),
            watch_filter=is_entry,
            step=LOG_STEP_MS,
            debounce=LOG_DEBOUNCE_MS,
            recursive=False,
            ignore_permission_denied=True,
        ):
            touched = {str(Path(path).parent) for _, path in changes}
            found = frozenset(name for folder in touched for name in datasets.get(folder, ()))
            if found:
                noticed(found)

    await _keep_following("dataset logs", follow)


async def watch_definitions(root: Path, noticed: Callable[[], Awaitable[None]]) -> None:
    """Call `noticed` after `deltakeep.toml` or a file below `views/` or `functions/` changed.  Runs until cancelled.

    The project's folder is watched rather than the file, so that an editor's rename and a swapped symbolic link are
    seen; two watchers, because the folder also holds tables whose many files are none of our business here.
    """

    def is_definition(_change: Change, path: str) -> bool:
        name = Path(path)
        return name.suffix in _DEFINITION_SUFFIXES and not name.name.startswith((".", "#"))

    def is_project_file(_change: Change, path: str) -> bool:
        return Path(path).name in {"deltakeep.toml", "views", "functions"}

    async def follow(path: Path, wanted: Callable[[Change, str], bool], *, recursive: bool) -> None:
        if not existing_folders([str(path)]):
            return
        async for _changes in awatch(
            path,
            watch_filter=wanted,
            step=DEFINITION_STEP_MS,
            debounce=DEFINITION_DEBOUNCE_MS,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            await noticed()

    def project_file() -> Awaitable[None]:
        return follow(root, is_project_file, recursive=False)

    def view_files() -> Awaitable[None]:
        return follow(root / "views", is_definition, recursive=True)

    def function_files() -> Awaitable[None]:
        return follow(root / "functions", is_definition, recursive=False)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep_following("project file", project_file))
        tasks.create_task(_keep_following("views", view_files))
        tasks.create_task(_keep_following("functions", function_files))


def existing_folders(folders: Iterable[str | None]) -> frozenset[str]:
    """The log folders that can be watched now; a change of this set means watching anew."""
    return frozenset(folder for folder in folders if folder is not None and Path(folder).is_dir())


async def _keep_following(what: str, follow: Callable[[], Awaitable[None]]) -> None:
    """Follow again after a failure (no more inotify watches, folder removed), with a pause; polling goes on anyway."""
    while True:
        try:
            await follow()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - watching is only a hint
            _log.warning("watching failed", what=what, error=str(error), retry_in_seconds=RETRY_S)
        await asyncio.sleep(RETRY_S)
