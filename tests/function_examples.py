"""The examples in the documentation of functions, as queries with the tables printed below them."""

from __future__ import annotations

from registry.functions import FunctionEntry


def examples(function: FunctionEntry) -> list[tuple[str, str]]:
    """Return each query of a function's example with the table that it prints."""
    assert function.documentation is not None, function.name
    text = (function.documentation.example or "").strip()
    assert text.startswith("```sql\n"), function.name
    assert text.endswith("```"), function.name
    found: list[tuple[str, str]] = []
    for line in text.removeprefix("```sql\n").removesuffix("```").splitlines():
        if line.startswith("> "):
            found.append((line[2:], ""))
        elif line.startswith(("+", "|")):
            query, table = found[-1]
            found[-1] = (query, f"{table}{line.rstrip()}\n")
        elif line.strip():
            query, table = found[-1]
            found[-1] = (f"{query}\n{line}", table)
    return [(query.strip().rstrip(";"), table) for query, table in found]


def example_queries(function: FunctionEntry) -> list[str]:
    """Return the queries of a function's example."""
    return [query for query, _ in examples(function)]
