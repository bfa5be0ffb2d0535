"""The golden samples of identifiers and normal forms agree with second implementations.

The Rust tests of `rust/functions` hold the functions to the samples; this file holds the samples to an encoder that was
written from the table in `value_bytes.rs` alone, to the BLAKE3 of the `datafusion` package, and to Python's
`unicodedata`.  Nobody has to trust one implementation about itself.
"""

from __future__ import annotations

import json
import math
import struct
import unicodedata
from decimal import Decimal
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pytest
from datafusion import SessionContext

from tests.sources import ROOT

GOLDEN: Final = ROOT / "rust" / "functions" / "golden"
SCHEMES: Final = {"stable_id_parts": 1, "prefixed_hash_parts64": 1, "stable_hash_any": 2}
CLASSES: Final = {"date": 7, "instant": 8, "clock": 9, "time": 10, "duration": 11, "interval": 12}
LAYOUTS: Final = {"date": "<q", "instant": "<qI", "clock": "<qI", "time": "<qI", "duration": "<qI", "interval": "<iiq"}


@cache
def samples(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["samples"]
    return read


def leb128(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + leb128(rest) if rest else bytes([low])


def sized(content: bytes) -> bytes:
    return leb128(len(content)) + content


def encode_number(text: str) -> bytes:
    number = Decimal(text)
    if number == number.to_integral_value() and -(2**63) <= int(number) < 2**63:
        return b"\x02" + struct.pack("<q", int(number))
    plain = format(number, "f")
    return b"\x03" + sized((plain.rstrip("0").rstrip(".") if "." in plain else plain).encode())


def encode_float(text: str) -> bytes:
    number = float(text)
    if math.isnan(number):
        return b"\x04" + struct.pack("<Q", 0x7FF8000000000000)
    return b"\x04" + struct.pack("<d", 0.0 if number == 0 else number)


def encode(value: list[Any]) -> bytes:
    """Return the value bytes of a value, written as its class and what it is."""
    match value:
        case ["null"]:
            return b"\x00"
        case ["boolean", bool(truth)]:
            return bytes([1, truth])
        case ["number", str(text)]:
            return encode_number(text)
        case ["float", str(text)]:
            return encode_float(text)
        case ["string", str(text)]:
            return b"\x05" + sized(text.encode())
        case ["binary", str(digits)]:
            return b"\x06" + sized(bytes.fromhex(digits))
        case ["list", list(elements)]:
            return b"\x0d" + leb128(len(elements)) + b"".join(encode(element) for element in elements)
        case ["map", list(entries)]:
            encoded = sorted(encode(key) + encode(content) for key, content in entries)
            return b"\x0e" + leb128(len(entries)) + b"".join(encoded)
        case ["struct", list(fields)]:
            ordered = sorted((name.encode(), content) for name, content in fields)
            return b"\x0f" + leb128(len(fields)) + b"".join(sized(name) + encode(content) for name, content in ordered)
        case [str(kind), *numbers]:
            return bytes([CLASSES[kind]]) + struct.pack(LAYOUTS[kind], *numbers)
        case _:
            raise AssertionError(value)


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
