"""What the change types of Delta's change data feed mean; `rust/functions/src/change_types.rs` has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call

if TYPE_CHECKING:
    from datafusion import Expr


def cdf_change_rank(change_type: Argument) -> Expr:
    """Order the change types of one commit: the change with the highest rank is a key's state after it."""
    return call("cdf_change_rank", change_type)


def cdf_is_upsert(change_type: Argument) -> Expr:
    """Say whether a change's row is there after the commit: insert and update_postimage."""
    return call("cdf_is_upsert", change_type)


def cdf_is_delete(change_type: Argument) -> Expr:
    """Say whether a change's row is gone after the commit: delete, and not update_preimage."""
    return call("cdf_is_delete", change_type)
