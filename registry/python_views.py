"""Python views become plan bytes: each function runs once in a process of its own, under limits, and is forgotten.

User code never runs in the daemon. The process sees zero-row tables with the schemas of the view's inputs, no secrets
of the environment, and has a time limit; what comes back is bytes or a problem with file and line.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from registry.delta_schema import arrow_schema
from registry.errors import DefinitionError, Problem
from registry.functions import UdfPlanningSnapshot
from registry.names import CompileKey
from registry.native import StateOption
from registry.view import PythonDefinition, View

_WORKER: Final = Path(__file__).with_name("python_view_worker.py")
_LOG_TAIL_BYTES: Final = 2_000
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What a Python view may use; memory is address space, of which threads reserve a lot."""

    seconds: float = 30.0
    memory_bytes: int = 8 << 30
    file_bytes: int = 64 << 20

    def resources(self) -> dict[str, int]:
        """Give the limits by their names in `resource`."""
        return {
            "RLIMIT_CPU": max(1, round(self.seconds)),
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_CORE": 0,
        }


def python_compile_key(
    view: View,
    definition: PythonDefinition,
    schemas: Mapping[str, str],
    functions: UdfPlanningSnapshot,
    settings: Mapping[str, str],
    state: StateOption | None = None,
) -> CompileKey:
    """Give the identity of everything that a Python view's plan depends on, without running it.

    It covers all Python files beneath `views/`, since the function may import any of them.
    """
    parts = {
        "view": view.name,
        "function": definition.function,
        "parameters": definition.parameters,
        "sources": definition.source_digest,
        "exact_sums": view.exact_sums,
        "state": None if state is None else [state.name, state.always],
        "schemas": dict(sorted(schemas.items())),
        "functions": [functions.snapshot_hash, functions.registry_hash],
        "settings": dict(sorted(settings.items())),
        "versions": [_version("deltakeep"), _version("datafusion"), platform.python_version()],
    }
    return CompileKey("python:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


def plan_python_view(view: View, schemas: Mapping[str, str], limits: WorkerLimits | None = None) -> bytes:
    """Run a view's function in a process of its own and give the bytes of its plan.

    `schemas` maps the view's parameters to Delta schema strings.
    Raises `DefinitionError` with file and line for whatever the user's code does wrong, the time limit included.
    """
    definition = view.definition
    if not isinstance(definition, PythonDefinition):
        raise TypeError(f"view {view.name} is no Python view")
    limits = limits or WorkerLimits()
    with tempfile.TemporaryDirectory(prefix="deltakeep-view-") as name:
        folder = Path(name)
        relations = folder / "relations"
        relations.mkdir()
        for relation, schema in schemas.items():
            pq.write_table(arrow_schema(schema).empty_table(), relations / f"{relation}.parquet")
        answer_file = folder / "answer.json"
        request = {
            "path": definition.path,
            "function": definition.function,
            "relations": list(definition.parameters),
            "relation_folder": str(relations),
            "import_paths": [str(Path(definition.path).parent), str(_WORKER.parent.parent)],
            "answer_file": str(answer_file),
            "limits": limits.resources(),
        }
        request_file = folder / "request.json"
        request_file.write_text(json.dumps(request), encoding="utf-8")
        ended = _run_worker(request_file, folder, limits)
        return _plan_of(_answer(answer_file), ended, view, limits)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a worker ended; `log` is the end of what it wrote."""

    timed_out: bool
    code: int
    log: str


def _run_worker(request_file: Path, folder: Path, limits: WorkerLimits) -> _Ended:
    """Run the worker in a session of its own, so that nothing that it started outlives it."""
    log_file = folder / "log.txt"
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-s", "-P", "-B", str(_WORKER), str(request_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
        timed_out = False
        try:
            process.wait(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with log_file.open("rb") as log:
        log.seek(max(0, log_file.stat().st_size - _LOG_TAIL_BYTES))
        tail = log.read().decode("utf-8", "replace").strip()
    return _Ended(timed_out, process.returncode, tail)


def _environment() -> dict[str, str]:
    """Give what the worker needs of our environment, and none of its secrets."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Sets in user code must not order a plan differently in each process.
    return {**passed, "PYTHONHASHSEED": "0", "TOKIO_WORKER_THREADS": "1"}


def _answer(answer_file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(answer_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plan_of(answer: dict[str, Any] | None, ended: _Ended, view: View, limits: WorkerLimits) -> bytes:
    file, line = view.source.file, view.source.line
    if answer is not None and answer.get("ok"):
        return base64.b64decode(answer["plan"])
    if answer is not None:
        what = f'view "{view.name}": {answer["what"]}'
        raise DefinitionError([Problem(file, answer["line"] or line, what, hint=answer["hint"])])
    if ended.timed_out or ended.code == -signal.SIGXCPU:
        what = f'view "{view.name}" was stopped after {limits.seconds:g} s'
        hint = "a view only builds a plan; it must not read data or wait"
    else:
        what = f'view "{view.name}" ended its process ({_exit_text(ended.code)})'
        hint = ended.log.splitlines()[-1] if ended.log else "the function must return a DataFrame"
    raise DefinitionError([Problem(file, line, what, "a function that returns a DataFrame", hint)])


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
