"""The golden samples of identifiers and normal forms agree with second implementations.

The Rust tests of `rust/functions` hold the functions to the samples; this file holds the samples to an encoder that was
written from the table in `value_bytes.rs` alone (`tests/value_bytes.py`), to the BLAKE3 of the `datafusion` package,
and to Python's `unicodedata`.  Nobody has to trust one implementation about itself.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pytest
from datafusion import SessionContext

from registry.session import RuntimeProfile, TableSpec, build_session_runtime
from tests.sources import ROOT
from tests.value_bytes import CLASSES, encode

GOLDEN: Final = ROOT / "rust" / "functions" / "golden"
SCHEMES: Final = {"stable_id_parts": 1, "prefixed_hash_parts64": 1, "stable_hash_any": 2}


@cache
def samples(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["samples"]
    return read


@cache
def digests() -> list[bytes]:
    """Return BLAKE3 of the message of each sample."""
    messages = [
        bytes([SCHEMES[sample["call"].split("(")[0]]]) + b"".join(encode(value) for value in sample["values"])
        for sample in samples("identifiers")
    ]
    context = SessionContext()
    numbered = {"number": list(range(len(messages))), "message": pa.array(messages, pa.binary())}
    context.register_record_batches("messages", [[pa.record_batch(numbered)]])
    rows = context.sql("SELECT digest(message, 'blake3') AS digest FROM messages ORDER BY number").to_pydict()
    return [bytes(digest) for digest in rows["digest"]]


def expected(sample: dict[str, Any], digest: bytes) -> str:
    if sample["call"].startswith("stable_id_parts"):
        return f"{sample['values'][0][1]}:{digest.hex()[:32]}"
    return str(int.from_bytes(digest[:8], "big", signed=True))


@pytest.mark.parametrize(
    "index", range(len(samples("identifiers"))), ids=lambda index: samples("identifiers")[index]["call"]
)
def test_an_identifier_is_what_the_table_says(index: int) -> None:
    sample = samples("identifiers")[index]
    assert sample["result"] == expected(sample, digests()[index])


def test_the_samples_cover_every_class_of_values() -> None:
    def classes(value: list[Any]) -> set[str]:
        match value:
            case ["list", elements]:
                return {"list"}.union(*map(classes, elements))
            case ["map", entries]:
                return {"map"}.union(*(classes(part) for entry in entries for part in entry))
            case ["struct", fields]:
                return {"struct"}.union(*(classes(content) for _, content in fields))
            case [kind, *_]:
                return {kind}
            case _:
                raise AssertionError(value)

    covered = set[str]().union(*(classes(value) for sample in samples("identifiers") for value in sample["values"]))
    assert covered == {*CLASSES, "null", "boolean", "number", "float", "string", "binary", "list", "map", "struct"}


# docs/functions.md, "What identifiers stand for": equal within a group, different between groups.
KINDS_OF_VALUES: Final = (
    ("5", "arrow_cast(5, 'UInt8')", "arrow_cast('5.00', 'Decimal128(10, 2)')"),
    ("arrow_cast(5, 'Float64')",),
    ("'5'",),
    ("arrow_cast(1.5, 'Float32')", "arrow_cast(1.5, 'Float64')"),
    ("arrow_cast('-0.0', 'Float64')", "arrow_cast('0.0', 'Float64')"),
    ("arrow_cast('NaN', 'Float64')", "-arrow_cast('NaN', 'Float64')", "arrow_cast('NaN', 'Float32')"),
    ("arrow_cast('0.1', 'Float32')",),
    ("arrow_cast('0.1', 'Float64')",),
    ("'a'", *(f"arrow_cast('a', '{kind}')" for kind in ("LargeUtf8", "Utf8View", "Dictionary(Int32, Utf8)"))),
    ("X'61'",),
    ("[1, 2]", "arrow_cast([1, 2], 'LargeList(Int64)')", "arrow_cast([1, 2], 'FixedSizeList(2, Int64)')"),
    ("[2, 1]",),
    (
        "arrow_cast('2024-01-02T03:04:05Z', 'Timestamp(Second, Some(\"UTC\"))')",
        "arrow_cast('2024-01-02T05:04:05+02:00', 'Timestamp(Nanosecond, Some(\"+02:00\"))')",
    ),
    ("arrow_cast('2024-01-02T03:04:05', 'Timestamp(Second, None)')",),
    ("MAP {'a': 1, 'b': 2}", "MAP {'b': 2, 'a': 1}"),
    ("named_struct('x', 1, 'y', 2)", "named_struct('y', 2, 'x', 1)"),
    ("named_struct('x', 1, 'z', 2)",),
    ("NULL", "CAST(NULL AS INT)", "CAST(NULL AS VARCHAR)"),
    ("''",),
    ("arrow_cast(make_array(), 'List(Int64)')",),
    ("named_struct('x', CAST(NULL AS INT))",),
)


@pytest.mark.parametrize("call", ["stable_id_parts('p', {})", "prefixed_hash_parts64('p', {})", "stable_hash_any({})"])
def test_values_are_equal_and_different_as_the_page_says(call: str) -> None:
    runtime = build_session_runtime(RuntimeProfile(durable=False))
    found = []
    for group in KINDS_OF_VALUES:
        calls = ", ".join(f"{call.format(value)} AS c{place}" for place, value in enumerate(group))
        (row,) = runtime.query(f"SELECT {calls}").read_all().to_pylist()
        assert len(set(row.values())) == 1, group
        found.append(row["c0"])
    assert len(set(found)) == len(KINDS_OF_VALUES)


def caseless(text: str, form: Any) -> str:
    """Return what definitions D145 and D146 of the Unicode Standard compare, in a form."""
    folded = unicodedata.normalize("NFD", text).casefold()
    if form in {"NFKC", "NFKD"}:
        folded = unicodedata.normalize("NFKD", folded).casefold()
    return unicodedata.normalize(form, folded)


def test_normal_forms_are_those_of_unicodedata() -> None:
    assert len(samples("normal_forms")) >= 200
    for sample in samples("normal_forms"):
        text = sample["text"]
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert sample[form] == unicodedata.normalize(form, text), (form, text)
            assert sample[f"{form} casefold"] == caseless(text, form), (form, text)


def test_every_character_is_normalized_and_folded_as_unicodedata_does() -> None:
    """Characters that Python's Unicode does not know yet are left out; what is assigned never changes its forms."""
    characters = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) not in {"Cn", "Cs"}
    ]
    assert len(characters) > 250_000
    table = TableSpec.memory("characters", pa.table({"n": range(len(characters)), "c": characters}))
    runtime = build_session_runtime(RuntimeProfile(durable=False))
    forms: tuple[Any, ...] = ("NFC", "NFD", "NFKC", "NFKD")
    calls = ", ".join(
        f"utf8_normalize(c, '{form}', {fold}) AS \"{form} {fold}\"" for form in forms for fold in ("false", "true")
    )
    found = runtime.query(f"SELECT {calls} FROM characters ORDER BY n", tables=(table,)).read_all()
    for form in forms:
        assert found[f"{form} false"].to_pylist() == [unicodedata.normalize(form, one) for one in characters]
        assert found[f"{form} true"].to_pylist() == [caseless(one, form) for one in characters]
