"""What the author of a Python view imports: the `view` decorator.

```python
from datafusion import DataFrame, col, functions as f
from registry.authoring import view

@view(target_lag="5m", partition_by=["day"])
def late(flights: DataFrame, planes: DataFrame) -> DataFrame:
    return flights.join(planes, on="tailnum").filter(col("arr_delay") > 60)
```

The parameters are the relations that the view reads. The function only builds a plan: it sees the columns and no rows,
runs in a process of its own, and runs again only when a Python file under `views/` or a schema changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar, overload

Function = TypeVar("Function", bound=Callable[..., object])

MARK = "__deltakeep_view__"


@overload
def view(function: Function, /) -> Function: ...


@overload
def view(
    *,
    target_lag: str = ...,
    partition_by: Sequence[str] = ...,
    refresh: Literal["auto", "incremental", "recompute"] = ...,
    target: str = ...,
    target_file_size: str | int = ...,
    change_data_feed: bool = ...,
    deletion_vectors: bool = ...,
    recompute_writes: Literal["replace", "difference"] = ...,
    compact: bool = ...,
    exact_sums: bool = ...,
    state_table: Literal["auto", "always", "never"] = ...,
    properties: Mapping[str, str] = ...,
    description: str = ...,
) -> Callable[[Function], Function]: ...


def view(function: Function | None = None, /, **options: object) -> Function | Callable[[Function], Function]:
    """Declare that a function makes a view; the options are those of an SQL view's header and must be literals.

    The options are read from the source of the file, so here they only mark the function.
    """

    def mark(marked: Function) -> Function:
        setattr(marked, MARK, dict(options))
        return marked

    return mark if function is None else mark(function)
