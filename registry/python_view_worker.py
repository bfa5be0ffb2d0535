"""The process that runs one Python view: reads a request, calls the function, writes the plan's bytes.

It runs by its path, in an interpreter that sees neither our import path nor the user's site, under limits that it sets
before it loads the user's file. It answers by one JSON file; everything that the user's code prints goes to a bounded
log. The function is called twice, because a plan that differs between two calls would make its view differ between two
processes.
"""

from __future__ import annotations

import base64
import importlib.util
import inspect
import json
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

# The authority of the stores in plans, so that their bytes name no folder of this machine.
RELATION_STORE = "relation://"
RELATION_AUTHORITY = "project"


class Refused(Exception):
    """The view is wrong in a way that its author can mend."""

    def __init__(self, what: str, hint: str = "", line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.line = line


def main(request_file: str) -> None:
    """Answer a request file; the answer says `ok`, or where the user's code failed."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    _limit(request["limits"])
    sys.path[:0] = request["import_paths"]
    sys.dont_write_bytecode = True
    try:
        answer = _run(request)
    except Refused as refused:
        answer = {"ok": False, "what": refused.what, "hint": refused.hint, "line": refused.line}
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
        answer = {"ok": False, **_explain(error, request["path"])}
    Path(request["answer_file"]).write_text(json.dumps(answer), encoding="utf-8")


def _limit(limits: Mapping[str, int]) -> None:
    """Bound the process: seconds of processor time, bytes of memory and of each file, no core dumps."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def _run(request: Mapping[str, Any]) -> dict[str, Any]:
    function = _load(request["path"], request["function"])
    first, second = (_plan(function, request) for _ in range(2))
    if first != second:
        hint = (
            "derive values from the rows, not from random() or the time while the plan is built; "
            "now() is fine outside of plans with subqueries"
        )
        raise Refused("two calls made two different plans", hint, function.__code__.co_firstlineno)
    return {"ok": True, "plan": base64.b64encode(first).decode("ascii")}


def _load(path: str, name: str) -> Callable[..., Any]:
    specification = importlib.util.spec_from_file_location(Path(path).stem, path)
    if specification is None or specification.loader is None:
        raise Refused(f"{path} cannot be loaded as a Python module")
    module: ModuleType = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise Refused(f'the file has no function "{name}" after it was run', "leave the name to the view alone")
    unwrapped: Callable[..., Any] = inspect.unwrap(function)
    return unwrapped


def _plan(function: Callable[..., Any], request: Mapping[str, Any]) -> bytes:
    """Build the plan in a fresh session and encode it."""
    context = _context(request)
    frame = function(**{relation: context.table(relation) for relation in request["relations"]})
    if not (hasattr(frame, "logical_plan") and hasattr(frame, "optimized_logical_plan")):
        what = f"the function returned a {type(frame).__name__}, not a DataFrame"
        raise Refused(what, "return the DataFrame of the view", function.__code__.co_firstlineno)
    try:
        # As written, the plan still says now(); optimized it says when this process ran.
        return bytes(frame.logical_plan().to_bytes(context))
    except Exception as error:
        # DataFusion encodes subqueries only once its optimizer has made them joins.
        if "not yet supported" not in str(error) and "NotImplemented" not in str(error):
            raise
        return bytes(frame.optimized_logical_plan().to_bytes(context))


def _context(request: Mapping[str, Any]) -> Any:
    from datafusion import SessionConfig, SessionContext
    from datafusion.object_store import LocalFileSystem

    from datafusion_ext import register_functions

    # Plans carry the number of partitions, which must not follow the machine.
    context = SessionContext(SessionConfig().with_target_partitions(1))
    context.register_object_store(RELATION_STORE, LocalFileSystem(request["relation_folder"]), RELATION_AUTHORITY)
    register_functions(context)
    for relation in request["relations"]:
        context.register_parquet(relation, f"{RELATION_STORE}{RELATION_AUTHORITY}/{relation}.parquet")
    return context


def _explain(error: BaseException, path: str) -> dict[str, Any]:
    """Say what went wrong and on which line of the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)
    if line is None and isinstance(error, SyntaxError) and error.filename == path:
        line = error.lineno
    text = " ".join(str(error).split()) or "no message"
    # DataFusion raises plain exceptions whose texts say what they are.
    kind = "" if type(error) is Exception else f"{type(error).__name__}: "
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f'put the module beneath views/, or install "{error.name}" where the daemon runs'
    elif isinstance(error, MemoryError):
        hint = "a view only builds a plan; load no data in it"
    return {"what": f"{kind}{text}", "hint": hint, "line": line}


if __name__ == "__main__":
    main(sys.argv[1])
