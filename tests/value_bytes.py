"""Value bytes and content digests once more, written from the tables in `value_bytes.rs` and `content_digest.rs` alone.

Nobody has to trust one implementation about itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import xxhash

CLASSES: Final = {"date": 7, "instant": 8, "clock": 9, "time": 10, "duration": 11, "interval": 12}
LAYOUTS: Final = {"date": "<q", "instant": "<qI", "clock": "<qI", "time": "<qI", "duration": "<qI", "interval": "<iiq"}


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


def content_digest(content: pa.Table) -> str:
    """Return the digest of the rows of a table, as the commits of its view carry it."""
    columns = [
        [tagged(value) for value in column.to_pylist()]
        for column, tagged in ((column, tagger(column.type)) for column in content.columns)
    ]
    rows = zip(*columns, strict=True) if columns else iter([()] * content.num_rows)
    total = sum(xxhash.xxh3_128_intdigest(b"".join(encode(value) for value in row)) for row in rows)
    return f"{total % 2**128:032x}"


def tagger(kind: pa.DataType) -> Callable[[Any], list[Any]]:
    """Return what writes a value of a type as its class and what it is."""
    known = _tagger(kind)
    return lambda value: ["null"] if value is None else known(value)


def _tagger(kind: pa.DataType) -> Callable[[Any], list[Any]]:
    if pa.types.is_boolean(kind):
        return lambda value: ["boolean", value]
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return lambda value: ["number", str(value)]
    if pa.types.is_floating(kind):
        return lambda value: ["float", repr(value)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return lambda value: ["string", value]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return lambda value: ["binary", value.hex()]
    if pa.types.is_date(kind):
        return lambda value: ["date", pa.scalar(value, pa.date32()).cast(pa.int32()).as_py() * 86_400_000]
    if pa.types.is_timestamp(kind):
        name = "clock" if kind.tz is None else "instant"
        return lambda value: [name, *divmod_of(pa.scalar(value, pa.timestamp("us", kind.tz)).value)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        element = tagger(kind.value_type)
        return lambda value: ["list", [element(one) for one in value]]
    if pa.types.is_map(kind):
        key, item = tagger(kind.key_type), tagger(kind.item_type)
        return lambda value: ["map", [(key(one), item(other)) for one, other in value]]
    if pa.types.is_struct(kind):
        fields = {field.name: tagger(field.type) for field in kind}
        return lambda value: ["struct", [(name, tagged(value[name])) for name, tagged in fields.items()]]
    raise AssertionError(kind)


def divmod_of(microseconds: int) -> tuple[int, int]:
    """Return seconds and the nanoseconds that are left."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return seconds, rest * 1_000
