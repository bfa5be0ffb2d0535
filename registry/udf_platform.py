"""The function platform in a session of the PyPI package `datafusion`, where authors of DataFrames work.

Functions cross by PyCapsule: names, other names, volatility, coercion, return fields, invocation. Argument names,
documentation, simplification, expression planners and the function factory do not; they act where every plan goes
next, in the native session, and `RustUdfPlatform.native_only` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import datafusion_ext
from datafusion_ext.function_objects import function_objects
from registry.errors import MustStop
from registry.functions import FunctionEntry, Snapshot, UdfPlanningSnapshot

if TYPE_CHECKING:
    from datafusion import DataFrame, SessionContext

    from datafusion_ext.function_objects import FunctionObject


@dataclass(frozen=True, slots=True)
class RustUdfPlatformOptions:
    """Which parts of the platform are installed.

    `strict` refuses a session in which one of the functions' names is taken, and one that afterwards has not exactly
    the functions of the snapshot.
    """

    enable_udfs: bool = True
    enable_function_factory: bool = True
    enable_expr_planners: bool = True
    strict: bool = True


@dataclass(frozen=True, slots=True)
class RustUdfPlatform:
    """What was installed; `snapshot` is None without functions.

    `native_only` names the parts that were asked for and that only the native session has.
    """

    options: RustUdfPlatformOptions
    snapshot: UdfPlanningSnapshot | None
    native_only: tuple[str, ...]


def install_rust_udf_platform(ctx: SessionContext, options: RustUdfPlatformOptions | None = None) -> RustUdfPlatform:
    """Install the platform in a session, before anything is planned there.

    Raises `MustStop` (`platform_missing`) that names every function in the way where `options.strict`.
    """
    options = options or RustUdfPlatformOptions()
    asked = (
        ("function factory", options.enable_function_factory),
        ("expression planners", options.enable_expr_planners),
    )
    native_only = tuple(name for name, wanted in asked if wanted)
    if not options.enable_udfs:
        return RustUdfPlatform(options, None, native_only)
    text = datafusion_ext.udf_snapshot(planners=options.enable_expr_planners)
    snapshot = UdfPlanningSnapshot.from_text(text)
    if options.strict:
        _refuse(_taken(ctx, snapshot), "rename or leave out what has the name, and install the platform first")
    datafusion_ext.register_functions(ctx)
    if options.strict:
        _refuse(platform_differences(ctx, snapshot), "reinstall deltakeep: its parts do not belong together")
    return RustUdfPlatform(options, snapshot, native_only)


def platform_differences(ctx: SessionContext, snapshot: UdfPlanningSnapshot) -> tuple[str, ...]:
    """Say in words, one text a name, how the functions of a session differ from a snapshot."""
    from datafusion import SessionContext

    registered = _registered(ctx)
    rows = SessionContext().sql("SELECT 1")
    found = []
    for function in snapshot.functions:
        for name in _names(function):
            kinds = [kind for kind, names in registered.items() if name in names]
            if kinds != [function.kind]:
                where = f"registered as {' and '.join(kinds)}" if kinds else "not registered"
                found.append(f'{function.kind} function "{name}" is {where}')
            elif not _is_ours(rows, _function_of(ctx, function.kind, name), function):
                found.append(f'{function.kind} function "{name}" is another one')
    offered = {capsule.name for capsule in datafusion_ext.udf_capsules()}
    found += [f'function "{name}" is not in the snapshot' for name in sorted(offered - _all_names(snapshot))]
    return tuple(found)


def rust_udf_snapshot(ctx: SessionContext) -> UdfPlanningSnapshot:
    """Give the snapshot of the functions that a session has.

    Raises `MustStop` (`platform_missing`) where the platform was not installed there, or a function of it was replaced.
    """
    snapshot = UdfPlanningSnapshot.from_text(datafusion_ext.udf_snapshot())
    _refuse(platform_differences(ctx, snapshot), "call install_rust_udf_platform before anything is planned")
    return snapshot


def validate_required_udfs(snapshot: Snapshot, *, required: Iterable[str]) -> None:
    """Raise `MustStop` (`platform_missing`) that names each required function that a snapshot does not have."""
    whole = snapshot if isinstance(snapshot, UdfPlanningSnapshot) else UdfPlanningSnapshot.model_validate(snapshot)
    missing = sorted(set(required) - _all_names(whole))
    _refuse((f'function "{name}" is not installed' for name in missing), "install a release that has it")


def _taken(ctx: SessionContext, snapshot: UdfPlanningSnapshot) -> list[str]:
    """Name what is in the way; a name that is only another name of a built-in function is taken over, as natively."""
    registered = _registered(ctx)
    return [
        f'the name "{name}" is taken by a function of kind {kind}'
        for name in sorted(_all_names(snapshot))
        for kind, names in registered.items()
        if name in names and _function_of(ctx, kind, name).name == name
    ]


def _registered(ctx: SessionContext) -> dict[str, frozenset[str]]:
    return {
        "scalar": frozenset(ctx.udfs()),
        "aggregate": frozenset(ctx.udafs()),
        "window": frozenset(ctx.udwfs()),
    }


def _function_of(ctx: SessionContext, kind: str, name: str) -> FunctionObject:
    match kind:
        case "scalar":
            return ctx.udf(name)
        case "aggregate":
            return ctx.udaf(name)
        case _:
            return ctx.udwf(name)


def _is_ours(rows: DataFrame, registered: FunctionObject, function: FunctionEntry) -> bool:
    """Say whether what is registered is the very function of ours; `rows` are any to plan over.

    The objects of the PyPI package tell no more than their names, but plans that call them are equal only where the
    functions are: those of other libraries are compared by identity. A sort is the node that checks no types.
    """
    from datafusion import lit

    ours = function_objects().get(function.name)
    if ours is None:
        return False
    here, there = (rows.sort(called(lit(1)).sort()).logical_plan() for called in (registered, ours))
    return here == there


def _names(function: FunctionEntry) -> tuple[str, ...]:
    return (function.name, *function.aliases)


def _all_names(snapshot: UdfPlanningSnapshot) -> frozenset[str]:
    return frozenset(name for function in snapshot.functions for name in _names(function))


def _refuse(problems: Iterable[str], hint: str) -> None:
    found = tuple(problems)
    if found:
        message = f"the function platform cannot be used in this session: {'; '.join(found)}"
        raise MustStop("platform_missing", message, hint)
