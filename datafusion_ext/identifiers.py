"""Ids and hashes of several values; `rust/functions/src/identifiers.rs` has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call

if TYPE_CHECKING:
    from datafusion import Expr


def stable_id_parts(prefix: Argument, *parts: Argument) -> Expr:
    """Identify one or more parts under a prefix: the prefix, a colon and 32 hex digits."""
    return call("stable_id_parts", prefix, *parts)


def prefixed_hash_parts64(prefix: Argument, *parts: Argument) -> Expr:
    """Hash one or more parts under a prefix to 64 bits: the first 16 digits of their id."""
    return call("prefixed_hash_parts64", prefix, *parts)


def stable_hash_any(*values: Argument) -> Expr:
    """Hash one or more values of any type to 64 bits."""
    return call("stable_hash_any", *values)
