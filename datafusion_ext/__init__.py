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
from datafusion_ext.change_types import cdf_change_rank, cdf_is_delete, cdf_is_upsert
from datafusion_ext.exact_sums import (
    avg_exact,
    corr_exact,
    covar_pop_exact,
    covar_samp_exact,
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

__all__ = [
    "AggregateFunction",
    "DeltakeepError",
    "Engine",
    "ScalarFunction",
    "WindowFunction",
    "avg_exact",
    "cdf_change_rank",
    "cdf_is_delete",
    "cdf_is_upsert",
    "commit_steps",
    "corr_exact",
    "covar_pop_exact",
    "covar_samp_exact",
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
    "stddev_pop_exact",
    "stddev_samp_exact",
    "sum_exact",
    "udf_capsules",
    "udf_snapshot",
    "var_pop_exact",
    "var_samp_exact",
    "versions",
]
