"""Our functions as objects of the PyPI package `datafusion`, and their registration in a session of it.

They cross by DataFusion's foreign function interface: name, other names, volatility, coercion, return field and
invocation do; argument names, documentation, simplification and planning rules stay in the native engine, which plans
every view again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from datafusion_ext._native import AggregateFunction, ScalarFunction, udf_capsules

if TYPE_CHECKING:
    from datafusion import SessionContext
    from datafusion.user_defined import AggregateUDF, ScalarUDF, WindowUDF

FunctionObject: TypeAlias = "ScalarUDF | AggregateUDF | WindowUDF"


@cache
def function_objects() -> Mapping[str, FunctionObject]:
    """Give every function of the platform by its name; made once a process, for any number of sessions."""
    from datafusion.user_defined import AggregateUDF, ScalarUDF, WindowUDF

    found: dict[str, FunctionObject] = {}
    for capsule in udf_capsules():
        if isinstance(capsule, ScalarFunction):
            found[capsule.name] = ScalarUDF.from_pycapsule(capsule)
        elif isinstance(capsule, AggregateFunction):
            found[capsule.name] = AggregateUDF.from_pycapsule(capsule)
        else:
            found[capsule.name] = WindowUDF.from_pycapsule(capsule)
    return MappingProxyType(found)


def register_functions(context: SessionContext) -> None:
    """Register every function of the platform in a session, over whatever has its name there."""
    from datafusion.user_defined import AggregateUDF, ScalarUDF

    for function in function_objects().values():
        if isinstance(function, ScalarUDF):
            context.register_udf(function)
        elif isinstance(function, AggregateUDF):
            context.register_udaf(function)
        else:
            context.register_udwf(function)
