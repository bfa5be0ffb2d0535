"""Documents that are made from code: `make docs` writes them, `tests/test_documents.py` holds them to it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Final

import click

import datafusion_ext
from daemon.cli.application import VERBS, application
from daemon.metrics_catalogue import catalogue_page
from daemon.openapi import api_description
from registry.functions import FunctionEntry, udf_docs
from registry.reasons import ReasonCode
from tests.sources import ROOT

MADE: Final = "<!-- Made by `make docs`. -->"


def reasons() -> str:
    """Return docs/reasons.md."""
    lines = [
        "# Reason codes",
        "",
        MADE,
        "",
        "Why a strategy, a skip, a wait or a failure: a closed list.",
        "`daemonctl why VIEW` and `daemonctl history VIEW` show them, so do metrics and `deltakeep.refreshes`.",
        "",
        "| code | because | what to do |",
        "|---|---|---|",
        *(f"| `{code.value}` | {code.text} | {code.hint} |" for code in ReasonCode),
    ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return docs/cli.md."""
    context = click.Context(application, info_name="daemonctl", terminal_width=100)
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "```text",
        *(line.rstrip() for line in application.get_help(context).splitlines()),
        "```",
    ]
    for name in VERBS:
        command = application.get_command(context, name)
        assert command is not None
        lines += ["", f"## daemonctl {name}", "", *_command(context, command, name)]
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=context, terminal_width=100)
            for part, one in command.commands.items():
                lines += ["", f"### daemonctl {name} {part}", "", *_command(inner, one, part)]
    return "\n".join(lines) + "\n"


def _command(context: click.Context, command: click.Command, name: str) -> Iterator[str]:
    yield "```text"
    own = click.Context(command, info_name=name, parent=context, terminal_width=100)
    yield from (line.rstrip() for line in command.get_help(own).splitlines())
    yield "```"
    if isinstance(command, click.Group):
        for inner in command.list_commands(own):
            found = command.get_command(own, inner)
            assert found is not None
            text = found.get_help(click.Context(found, info_name=inner, parent=own, terminal_width=100))
            yield from (
                "",
                f"### daemonctl {name} {inner}",
                "",
                "```text",
                *(line.rstrip() for line in text.splitlines()),
                "```",
            )


FUNCTIONS_START: Final = """\
Functions that every session has, beside those of [DataFusion](https://datafusion.apache.org/user-guide/sql/).
They are installed before anything is planned, and each view's content key covers the version of every function that the
view uses: whoever changes what a function returns makes exactly those views recompute.

In SQL the arguments may be named, as in `f(a => 1)`; `information_schema.routines` and `SHOW FUNCTIONS` list them.
In Python each is a call of the same name: `from datafusion_ext import span_id` gives a function that takes expressions
of the PyPI package `datafusion`, or plain values, which become literals, and returns an expression.
`install_rust_udf_platform` of `registry/udf_platform.py` puts them into any `SessionContext`; in `views/*.py` they are
there already.

## Operators

Over spans, `a && b` is `span_overlaps(a, b)`, `a @> b` is `span_contains(a, b)` and `a <@ b` is `span_contains(b, a)`.
Over arrays the last two keep DataFusion's meaning.
A field of a span is read as `s['start']`, or as `t.s.start` where `s` is a column.
Spans have no literals of their own: `span_make(3, 8)` is one in the plan, as every call over literals.

## What identifiers stand for

`stable_id_parts`, `prefixed_hash_parts64`, `stable_hash_any` and `span_id` are made of values, whatever holds them, and
are the same in every process, on every platform and in every release: an identifier that changed would be loss of data.

| equal | different |
|---|---|
| Int32 5, UInt8 5 and Decimal 5.00 | 5 and the Float64 5.0, 5 and the text `5` |
| Float32 1.5 and Float64 1.5; -0.0 and 0.0; every NaN | Float32 0.1 and Float64 0.1, which is another number |
| a text as Utf8, LargeUtf8, Utf8View or in a dictionary | a text and the same bytes as binary |
| a list as List, LargeList or FixedSizeList | lists of another order |
| a timestamp in any unit and any zone | a timestamp with a zone and one without |
| entries of a map in any order, fields of a struct in any order | a struct and one with a field of another name |
| NULL of any type | NULL and the empty text, an empty list or a struct of NULLs |

Parts do not run together, since there is no separator that a text could hold: `('ab', 'c')` is not `('a', 'bc')`.

Among n rows with different parts the expected number of pairs that share an identifier of b bits is n(n-1)/2^(b+1):

| rows | 64 bits: `prefixed_hash_parts64`, `stable_hash_any` | 128 bits: `stable_id_parts`, `span_id` |
|---|---|---|
| 10^6 | 2.7e-8 | 1.5e-27 |
| 10^9 | 2.7e-2 | 1.5e-21 |
| 10^12 | 2.7e4 | 1.5e-15 |

So 64 bits are for buckets, and for joins of some million rows; keys take ids.
Finding a collision on purpose takes about 2^32 or 2^64 hashes, so ids of what strangers wrote should not decide about
access.

## The order of values

One order over all types decides ties of aggregates, the order of sets and lists, and which keys of a map are equal.
NULL is greater than every value, at each level of a nested one.
Numbers, dates, times, intervals and booleans go by value, texts and binaries by their bytes.
NaN is greater than every other float and equal to every NaN, -0.0 equals 0.0; they come out as the one NaN and as 0.0.
Structs go field by field, lists element by element and then by length, maps as the list of their entries.
Representations do not count.

## Functions of the project

A file `functions/late.sql` gives an expression a name that every SQL view and `daemonctl query` can call:

```sql
-- Whether an arrival counts as late.
CREATE FUNCTION late(minutes DOUBLE) RETURNS BOOLEAN RETURN minutes > 15
```

In the expression an argument is its name, `$name`, or its position `$1`.
The expression may call any function of one row, and other functions of the project; it reads no relation, and no
function may call itself.
Arguments get the declared types, and the result too, if it is a number for a number, a text for a text, a moment for a
moment; anything else needs a cast.
While a view is planned, calls become their expressions, so that a stored plan knows nothing of them; the view's content
key does, and an edit recomputes the views that use the function, directly or through another one, and no others.
A volatile argument such as `random()` is refused where the expression uses it more than once.
Python views cannot call them: write a Python function instead.
A file has one statement and is named like its function; `daemonctl check` tells what is wrong with it, and the daemon
takes an edit over as it does with views.
"""


def functions() -> str:
    """Return docs/functions.md."""
    lines = ["# Functions", "", MADE, "", FUNCTIONS_START.rstrip()]
    sections: dict[str, list[FunctionEntry]] = {}
    for function in udf_docs():
        documentation = function.documentation
        sections.setdefault(documentation.section if documentation else "", []).append(function)
    for section in sorted(sections):
        documentation = sections[section][0].documentation
        lines += ["", f"## {section}"]
        if documentation and documentation.section_description:
            lines += ["", documentation.section_description]
        for function in sections[section]:
            lines += ["", f"### `{function.name}`", "", *_function(function)]
    return "\n".join(lines) + "\n"


def _function(function: FunctionEntry) -> Iterator[str]:
    documentation = function.documentation
    assert documentation is not None, function.name
    call = getattr(datafusion_ext, function.name)
    parameters = ", ".join(str(one.replace(annotation=one.empty)) for one in _parameters(call))
    yield documentation.description
    yield ""
    yield "```text"
    yield f"SQL     {documentation.syntax}"
    yield f"Python  {function.name}({parameters})"
    yield "```"
    yield ""
    yield "| argument | meaning |"
    yield "|---|---|"
    for name, meaning in documentation.arguments:
        yield f"| `{name}` | {meaning} |".replace("\n", " ")
    yield ""
    yield f"{function.kind.capitalize()}, {function.volatility}, version {function.version}."
    yield f"Returns {function.return_rule}."
    yield f"NULL: {NULL_BEHAVIOUR[function.null_behaviour]}."
    if function.aliases:
        yield f"Other names: {', '.join(f'`{name}`' for name in function.aliases)}."
    yield f"Tags: {', '.join(f'`{tag}`' for tag in function.rewrite_tags)}."
    yield ""
    yield (documentation.example or "").strip()


def _parameters(call: Callable[..., object]) -> list[inspect.Parameter]:
    return list(inspect.signature(call).parameters.values())


NULL_BEHAVIOUR: Final = {
    "propagates": "gives NULL",
    "skips": "rows with it are left out",
    "handles": "is a value like others, as described",
}


def openapi() -> str:
    """Return docs/openapi.json."""
    return json.dumps(api_description(), indent=2) + "\n"


DOCUMENTS: Final[dict[str, Callable[[], str]]] = {
    "reasons.md": reasons,
    "metrics.md": catalogue_page,
    "cli.md": commands,
    "functions.md": functions,
    "openapi.json": openapi,
}


def write() -> None:
    """Write every document."""
    for name, make in DOCUMENTS.items():
        (ROOT / "docs" / name).write_text(make())


if __name__ == "__main__":
    write()
