"""Half-open ranges of positions in a text; `rust/functions/src/spans.rs` has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call, up_to_the_last_given

if TYPE_CHECKING:
    from datafusion import Expr


def span_make(start: Argument, end: Argument, col_unit: Argument | None = None) -> Expr:
    """Make the span of the positions from `start` up to and without `end`; `col_unit` is byte, utf16 or codepoint."""
    return call("span_make", start, end, *up_to_the_last_given((col_unit, "byte")))


def span_len(span: Argument) -> Expr:
    """Give the number of positions of a span, in its unit."""
    return call("span_len", span)


def span_overlaps(a: Argument, b: Argument) -> Expr:
    """Say whether a position is in both spans."""
    return call("span_overlaps", a, b)


def span_contains(a: Argument, b: Argument) -> Expr:
    """Say whether the span or the position `b` lies within the span `a`."""
    return call("span_contains", a, b)


def span_id(prefix: Argument, path: Argument, start: Argument, end: Argument) -> Expr:
    """Identify a span in a text."""
    return call("span_id", prefix, path, start, end)
