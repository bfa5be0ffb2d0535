"""The native engine and its functions.

`Engine` is what the rest of Deltakeep runs on. The functions are for whoever builds plans without SQL: each one makes
the call of a function of the platform as an expression of the PyPI package `datafusion`, and takes expressions, or
plain values, which become literals.

```python
from datafusion import col
from datafusion_ext import cdf_is_upsert

changes.filter(cdf_is_upsert(col("_change_type")))
```

Importing this package does not import `datafusion`; the first call does.
"""

from __future__ import annotations

from datafusion_ext._native import (
    AggregateFunction,
    DeltakeepError,
    Engine,
    ScalarFunction,
    WindowFunction,
    commit_steps,
    reason_codes,
    udf_capsules,
    udf_snapshot,
    versions,
)
from datafusion_ext.aggregates import any_value_det, arg_max, arg_min, collect_set, count_if
from datafusion_ext.change_types import cdf_change_rank, cdf_is_delete, cdf_is_upsert
from datafusion_ext.exact_sums import (
    avg_exact,
    corr_exact,
    covar_pop_exact,
    covar_samp_exact,
    exact_covar_state,
    exact_regr_state,
    exact_state_merge,
    exact_state_value,
    exact_sum_state,
    exact_var_state,
    regr_avgx_exact,
    regr_avgy_exact,
    regr_intercept_exact,
    regr_r2_exact,
    regr_slope_exact,
    regr_sxx_exact,
    regr_sxy_exact,
    regr_syy_exact,
    stddev_pop_exact,
    stddev_samp_exact,
    sum_exact,
    var_pop_exact,
    var_samp_exact,
)
from datafusion_ext.function_objects import register_functions
from datafusion_ext.identifiers import prefixed_hash_parts64, stable_hash_any, stable_id_parts
from datafusion_ext.nested import list_compact, list_unique_sorted, map_get_default, map_normalize, struct_pick
from datafusion_ext.spans import span_contains, span_id, span_len, span_make, span_overlaps
from datafusion_ext.strings import qname_normalize, utf8_normalize, utf8_null_if_blank

__all__ = [
    "AggregateFunction",
    "DeltakeepError",
    "Engine",
    "ScalarFunction",
    "WindowFunction",
    "any_value_det",
    "arg_max",
    "arg_min",
    "avg_exact",
    "cdf_change_rank",
    "cdf_is_delete",
    "cdf_is_upsert",
    "collect_set",
    "commit_steps",
    "corr_exact",
    "count_if",
    "covar_pop_exact",
    "covar_samp_exact",
    "exact_covar_state",
    "exact_regr_state",
    "exact_state_merge",
    "exact_state_value",
    "exact_sum_state",
    "exact_var_state",
    "list_compact",
    "list_unique_sorted",
    "map_get_default",
    "map_normalize",
    "prefixed_hash_parts64",
    "qname_normalize",
    "reason_codes",
    "register_functions",
    "regr_avgx_exact",
    "regr_avgy_exact",
    "regr_intercept_exact",
    "regr_r2_exact",
    "regr_slope_exact",
    "regr_sxx_exact",
    "regr_sxy_exact",
    "regr_syy_exact",
    "span_contains",
    "span_id",
    "span_len",
    "span_make",
    "span_overlaps",
    "stable_hash_any",
    "stable_id_parts",
    "stddev_pop_exact",
    "stddev_samp_exact",
    "struct_pick",
    "sum_exact",
    "udf_capsules",
    "udf_snapshot",
    "utf8_normalize",
    "utf8_null_if_blank",
    "var_pop_exact",
    "var_samp_exact",
    "versions",
]
