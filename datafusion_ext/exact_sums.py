"""Sums of floats, and what is made of them, rounded once: equal bags of rows give equal bits.

`rust/functions/src/exact_sums.rs` has the rules. Pairs are given as `y`, the dependent number, and `x`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call

if TYPE_CHECKING:
    from datafusion import Expr


def sum_exact(x: Argument) -> Expr:
    """The sum of floats, exact and rounded once."""
    return call("sum_exact", x)


def avg_exact(x: Argument) -> Expr:
    """The mean of floats, exact and rounded once."""
    return call("avg_exact", x)


def var_samp_exact(x: Argument) -> Expr:
    """The sample variance of floats, exact and rounded once."""
    return call("var_samp_exact", x)


def var_pop_exact(x: Argument) -> Expr:
    """The population variance of floats, exact and rounded once."""
    return call("var_pop_exact", x)


def stddev_samp_exact(x: Argument) -> Expr:
    """The sample standard deviation of floats, exact and rounded once."""
    return call("stddev_samp_exact", x)


def stddev_pop_exact(x: Argument) -> Expr:
    """The population standard deviation of floats, exact and rounded once."""
    return call("stddev_pop_exact", x)


def covar_samp_exact(y: Argument, x: Argument) -> Expr:
    """The sample covariance of pairs, exact and rounded once."""
    return call("covar_samp_exact", y, x)


def covar_pop_exact(y: Argument, x: Argument) -> Expr:
    """The population covariance of pairs, exact and rounded once."""
    return call("covar_pop_exact", y, x)


def corr_exact(y: Argument, x: Argument) -> Expr:
    """The coefficient of correlation of pairs, exact and rounded once."""
    return call("corr_exact", y, x)


def regr_slope_exact(y: Argument, x: Argument) -> Expr:
    """The slope of the line with the least squares, exact and rounded once."""
    return call("regr_slope_exact", y, x)


def regr_intercept_exact(y: Argument, x: Argument) -> Expr:
    """The intercept of the line with the least squares, exact and rounded once."""
    return call("regr_intercept_exact", y, x)


def regr_r2_exact(y: Argument, x: Argument) -> Expr:
    """The square of the coefficient of correlation of pairs, exact and rounded once."""
    return call("regr_r2_exact", y, x)


def regr_avgx_exact(y: Argument, x: Argument) -> Expr:
    """The mean of the x of pairs, exact and rounded once."""
    return call("regr_avgx_exact", y, x)


def regr_avgy_exact(y: Argument, x: Argument) -> Expr:
    """The mean of the y of pairs, exact and rounded once."""
    return call("regr_avgy_exact", y, x)


def regr_sxx_exact(y: Argument, x: Argument) -> Expr:
    """The sum of the squared distances of the x from their mean, exact and rounded once."""
    return call("regr_sxx_exact", y, x)


def regr_syy_exact(y: Argument, x: Argument) -> Expr:
    """The sum of the squared distances of the y from their mean, exact and rounded once."""
    return call("regr_syy_exact", y, x)


def regr_sxy_exact(y: Argument, x: Argument) -> Expr:
    """The sum of the products of the distances of x and y from their means, exact and rounded once."""
    return call("regr_sxy_exact", y, x)


def exact_sum_state(x: Argument, weight: Argument) -> Expr:
    """The state that `sum` and `avg` of floats are asked from; a row counts as often as its weight says."""
    return call("exact_sum_state", x, weight)


def exact_var_state(x: Argument, weight: Argument) -> Expr:
    """The state that variances and standard deviations are asked from; a row counts as often as its weight says."""
    return call("exact_var_state", x, weight)


def exact_covar_state(y: Argument, x: Argument, weight: Argument) -> Expr:
    """The state that covariances, sums and means of pairs are asked from; a pair counts as often as its weight says."""
    return call("exact_covar_state", y, x, weight)


def exact_regr_state(y: Argument, x: Argument, weight: Argument) -> Expr:
    """The state that correlation and regression are asked from; a pair counts as often as its weight says."""
    return call("exact_regr_state", y, x, weight)


def exact_state_merge(state: Argument) -> Expr:
    """The state of all rows of states of one kind."""
    return call("exact_state_merge", state)


def exact_state_value(state: Argument, statistic: Argument) -> Expr:
    """The number that an exact function gives for the rows of a state."""
    return call("exact_state_value", state, statistic)
