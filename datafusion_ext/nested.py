"""Maps, lists and structs; `rust/functions/src/nested.rs` has the rules. Arguments are called as in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call

if TYPE_CHECKING:
    from datafusion import Expr


def map_get_default(map: Argument, key: Argument, default: Argument) -> Expr:
    """Give the value of a key, or what stands in for one that is not there."""
    return call("map_get_default", map, key, default)


def map_normalize(map: Argument) -> Expr:
    """Give a map with each key once, in their order."""
    return call("map_normalize", map)


def list_compact(list: Argument) -> Expr:
    """Give a list without its NULLs."""
    return call("list_compact", list)


def list_unique_sorted(list: Argument) -> Expr:
    """Give the distinct elements of a list, in their order."""
    return call("list_unique_sorted", list)


def struct_pick(struct: Argument, *fields: Argument) -> Expr:
    """Give a struct of some fields of another one, which are named by string literals."""
    return call("struct_pick", struct, *fields)
