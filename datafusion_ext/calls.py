"""Calls of our functions as expressions of the PyPI package `datafusion`.

`datafusion` is imported with the first call and not before: whoever only needs the engine does not wait for it.
Invariant: a call has exactly the arguments that were given, in the order of the function's signature; what is left out
at the end stays out, so that the function's own default holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from datafusion_ext.function_objects import function_objects

if TYPE_CHECKING:
    from datafusion import Expr

Argument: TypeAlias = "Expr | str | int | float | bool"
"""What a wrapper takes: an expression, or a plain value, which becomes a literal."""


def call(name: str, *arguments: Argument | None) -> Expr:
    """Make the call of a function of the platform; None is NULL.

    Raises `KeyError` for a name that the platform does not have, `TypeError` for a value that cannot be a literal.
    """
    function = function_objects()[name]
    return function(*(_expression(name, argument) for argument in arguments))


def up_to_the_last_given(*optional: tuple[Argument | None, Argument | None]) -> tuple[Argument | None, ...]:
    """Give the optional arguments of a call, each one with what stands for it where only a later one is given.

    >>> up_to_the_last_given((None, "NFC"), (True, False), (None, ""))
    ('NFC', True)
    """
    given = [position for position, (argument, _) in enumerate(optional) if argument is not None]
    wanted = optional[: given[-1] + 1] if given else ()
    return tuple(default if argument is None else argument for argument, default in wanted)


def _expression(name: str, argument: Argument | None) -> Expr:
    from datafusion import Expr, lit

    if isinstance(argument, Expr):
        return argument
    if argument is None or isinstance(argument, str | int | float | bool):
        return lit(argument)
    raise TypeError(f"{name} takes expressions, strings, numbers and booleans, not {type(argument).__name__}")
