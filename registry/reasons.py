"""The closed list of reasons: why a strategy, a skip, a wait or a failure.

The Rust crate `maintenance` holds the same list, but for `ABOVE_ENGINE`; a test compares both.
`text` completes the sentence "because …"; `hint` says what to do, and is empty where nothing has to be done.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ReasonCode(StrEnum):
    """Why something was done, or not done."""

    FIRST_BUILD = "first_build"
    DEFINITION_CHANGED = "definition_changed"
    CONTENT_KEY_CHANGED = "content_key_changed"
    REQUESTED = "requested"
    POLICY_RECOMPUTE = "policy_recompute"
    INCREMENTAL = "incremental"
    CHEAPER_RECOMPUTE = "cheaper_recompute"

    NO_NEW_VERSIONS = "no_new_versions"
    NO_DATA_CHANGE = "no_data_change"
    FILTERED_OUT = "filtered_out"
    UNUSED_COLUMNS = "unused_columns"
    EMPTY_CHANGE = "empty_change"

    HISTORY_GONE = "history_gone"
    TABLE_REPLACED = "table_replaced"
    SCHEMA_CHANGED = "schema_changed"
    TARGET_MODIFIED = "target_modified"
    TARGET_MISSING = "target_missing"
    INPUT_MISSING = "input_missing"

    OPERATOR_NOT_INCREMENTAL = "operator_not_incremental"
    AGGREGATE_WITHOUT_GROUPS = "aggregate_without_groups"
    WINDOW_NOT_INCREMENTAL = "window_not_incremental"
    LIMIT_NOT_INCREMENTAL = "limit_not_incremental"
    DISTINCT_NOT_INCREMENTAL = "distinct_not_incremental"
    SUBQUERY_NOT_INCREMENTAL = "subquery_not_incremental"
    RECURSION_NOT_INCREMENTAL = "recursion_not_incremental"
    VOLATILE_FUNCTION = "volatile_function"
    CLOCK_DEPENDENT = "clock_dependent"
    UNSUPPORTED_EXPRESSION = "unsupported_expression"
    FLOAT_ORDER_DEPENDENT = "float_order_dependent"
    DIGEST_UNKNOWN = "digest_unknown"
    TARGET_MISMATCH = "target_mismatch"
    BUDGET_EXCEEDED = "budget_exceeded"

    INPUTS_NOT_ALIGNED = "inputs_not_aligned"
    UPSTREAM_FAILED = "upstream_failed"
    PAUSED = "paused"
    LOST_RACE = "lost_race"
    DEFINITION_CONFLICT = "definition_conflict"
    NEWER_FORMAT = "newer_format"
    NOT_OURS = "not_ours"
    ORPHANED = "orphaned"
    REFRESH_FAILED = "refresh_failed"
    PLAN_NOT_DETERMINISTIC = "plan_not_deterministic"
    ENGINE_UPGRADE = "engine_upgrade"
    FUNCTION_CHANGED = "function_changed"

    @property
    def text(self) -> str:
        """Say the reason in words."""
        return _TEXTS[self][0]

    @property
    def hint(self) -> str:
        """Say what to do about it; empty where nothing has to be done."""
        return _TEXTS[self][1]


ABOVE_ENGINE: Final = frozenset({ReasonCode.NEWER_FORMAT})
"""Reasons for which the engine is never asked, so that it need not know them."""

_R = ReasonCode
_TEXTS: Final[dict[ReasonCode, tuple[str, str]]] = {
    _R.FIRST_BUILD: ("the target does not exist yet", ""),
    _R.DEFINITION_CHANGED: ("the view's definition changed", ""),
    _R.CONTENT_KEY_CHANGED: ("what decides the view's content changed: definition, schemas, functions or settings", ""),
    _R.REQUESTED: ("somebody asked for it", ""),
    _R.POLICY_RECOMPUTE: ('the view says refresh = "recompute"', 'set refresh = "auto" to allow incremental refreshes'),
    _R.INCREMENTAL: ("the changes are known and cheaper to apply than a recompute", ""),
    _R.CHEAPER_RECOMPUTE: ("a recompute costs less than applying the changes", ""),
    _R.NO_NEW_VERSIONS: ("no input has a new version", ""),
    _R.NO_DATA_CHANGE: ("the new versions of the inputs changed no data", ""),
    _R.FILTERED_OUT: ("no changed file can hold rows that meet the view's filters", ""),
    _R.UNUSED_COLUMNS: ("only columns changed that the view does not use", ""),
    _R.EMPTY_CHANGE: ("the changes of the inputs cancel out for this view", ""),
    _R.HISTORY_GONE: (
        "the log or the files of an input no longer reach back to the view's frontier",
        "keep the input's log and files longer, or lower the view's target_lag",
    ),
    _R.TABLE_REPLACED: ("an input was created anew under the same uri", ""),
    _R.SCHEMA_CHANGED: ("the schema of an input changed in columns that the view uses", ""),
    _R.TARGET_MODIFIED: (
        "somebody else changed data in the target",
        "find the other writer in the target's history; only the view may write its target",
    ),
    _R.TARGET_MISSING: ("the target is gone", ""),
    _R.INPUT_MISSING: ("an input does not exist", "create the input's table, or correct its uri in deltakeep.toml"),
    _R.OPERATOR_NOT_INCREMENTAL: (
        "an operator of the plan has no incremental form",
        "write GROUPING SETS, ROLLUP or CUBE as a UNION ALL of one GROUP BY each",
    ),
    _R.AGGREGATE_WITHOUT_GROUPS: (
        "the view aggregates without grouping",
        (
            "group by a column, such as the day, and aggregate the groups in a later view; counts, sums, averages, "
            'statistics of floats, least and greatest values need no groups, unless the view says state_table = "never"'
        ),
    ),
    _R.WINDOW_NOT_INCREMENTAL: (
        "the view's window functions have no partition in common",
        (
            "give each of them a PARTITION BY, all with one column in common; a total over all rows can be a subquery, "
            "(SELECT sum(…) FROM …)"
        ),
    ),
    _R.LIMIT_NOT_INCREMENTAL: (
        "the view has a LIMIT",
        "leave LIMIT and OFFSET out, and put them into a later view or the query that reads this one",
    ),
    _R.DISTINCT_NOT_INCREMENTAL: ("the view has a DISTINCT", "use GROUP BY over the returned columns"),
    _R.SUBQUERY_NOT_INCREMENTAL: (
        "the view has a subquery that may give several rows, or one in the ON of an outer join",
        (
            "make it an aggregate such as max() without GROUP BY, HAVING and LIMIT, or join it; in place of one in the "
            "ON of an outer join, CROSS JOIN its row before that join"
        ),
    ),
    _R.RECURSION_NOT_INCREMENTAL: (
        "the view is recursive",
        "nothing makes a recursion incremental; keep it in a view of its own, so that those that read it can be",
    ),
    _R.VOLATILE_FUNCTION: (
        "the view calls a function that gives other results each time",
        'derive the value from the rows, for example by md5() of their key; it may stay with refresh = "recompute"',
    ),
    _R.CLOCK_DEPENDENT: (
        "the view depends on the current time",
        "compare a column with now() in the WHERE of its own relation, and leave the time out of all else",
    ),
    _R.UNSUPPORTED_EXPRESSION: (
        "the plan has an expression that the change rules do not know",
        (
            'an input column "__weight" or "__change_weight" needs another name, which changes use; '
            "nothing is known to help with other expressions"
        ),
    ),
    _R.FLOAT_ORDER_DEPENDENT: (
        "the last digits of its floats depend on the order of the rows",
        "set exact_sums = true, and leave approximate and DISTINCT pair functions out",
    ),
    _R.DIGEST_UNKNOWN: (
        "nobody knows the digest of the content that the last commit built upon",
        "verify without a digest, or recompute the view",
    ),
    _R.TARGET_MISMATCH: ("the rows to delete were not all found in the target", "run verify, then recompute the view"),
    _R.BUDGET_EXCEEDED: ("applying the changes cost more than planned", ""),
    _R.INPUTS_NOT_ALIGNED: ("the inputs reflect different versions of a dataset that they share", ""),
    _R.UPSTREAM_FAILED: ("a view that this one reads failed", "look at the failed view first"),
    _R.PAUSED: ("the view is paused", "resume it"),
    _R.LOST_RACE: ("another process committed to the target first", ""),
    _R.DEFINITION_CONFLICT: (
        "another process keeps this view with another definition",
        "run one version of the project for one target",
    ),
    _R.NEWER_FORMAT: (
        "a newer version of Deltakeep wrote it in a format that this one does not read",
        "run one version of the project, the newest",
    ),
    _R.NOT_OURS: (
        "the target belongs to somebody else",
        "choose another target, or adopt the table by an explicit command",
    ),
    _R.ORPHANED: ("the view is no longer in the project; its target is left as it is", ""),
    _R.REFRESH_FAILED: ("the last refresh failed", "run why to see the error"),
    _R.PLAN_NOT_DETERMINISTIC: (
        "the same definition gave two different plans",
        "report it with both plans; the plan_artifacts table has them",
    ),
    _R.ENGINE_UPGRADE: ("the engine plans the same content differently than before", ""),
    _R.FUNCTION_CHANGED: ("a function that the view uses is no longer what it was when the view was planned", ""),
}
