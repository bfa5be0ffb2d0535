"""Aggregates that do not depend on the order of rows; `rust/functions/src/aggregates.rs` has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call

if TYPE_CHECKING:
    from datafusion import Expr


def any_value_det(value: Argument, order_by: Argument) -> Expr:
    """Give the value, not NULL, of the row with the smallest `order_by`."""
    return call("any_value_det", value, order_by)


def arg_max(value: Argument, by: Argument) -> Expr:
    """Give the value of the row with the greatest `by`."""
    return call("arg_max", value, by)


def arg_min(value: Argument, by: Argument) -> Expr:
    """Give the value of the row with the smallest `by`."""
    return call("arg_min", value, by)


def collect_set(value: Argument) -> Expr:
    """Give the distinct values that are not NULL, ascending."""
    return call("collect_set", value)


def count_if(condition: Argument) -> Expr:
    """Count the rows whose condition is true."""
    return call("count_if", condition)
