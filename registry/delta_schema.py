"""Delta schemas as Arrow schemas: what a Python view sees of its inputs.

The mapping is that of the native engine: strings `string`, binary `binary`, timestamps in microseconds, with the zone
UTC or without one. A type that is not known is refused by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from registry.errors import MustStop

_PRIMITIVES: Final[Mapping[str, pa.DataType]] = {
    "string": pa.string(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
_DECIMAL: Final = re.compile(r"decimal\(\s*(\d+)\s*,\s*(-?\d+)\s*\)")


def arrow_schema(schema_text: str) -> pa.Schema:
    """Give the Arrow schema of a Delta schema string.

    Raises `MustStop` (`unsupported_type`) for a type that is not known, naming the column.

    >>> arrow_schema('{"type":"struct","fields":[{"name":"day","type":"date","nullable":true,"metadata":{}}]}')
    day: date32[day]
    """
    fields = json.loads(schema_text)["fields"]
    return pa.schema([_field(one, one["name"]) for one in fields])


def _field(field: Mapping[str, Any], path: str) -> pa.Field:
    return pa.field(field["name"], _type(field["type"], path), nullable=field.get("nullable", True))


def _type(kind: Any, path: str) -> pa.DataType:
    if isinstance(kind, str):
        if kind in _PRIMITIVES:
            return _PRIMITIVES[kind]
        decimal = _DECIMAL.fullmatch(kind)
        if decimal:
            return pa.decimal128(int(decimal[1]), int(decimal[2]))
    elif isinstance(kind, dict):
        match kind.get("type"):
            case "struct":
                return pa.struct([_field(one, f"{path}.{one['name']}") for one in kind["fields"]])
            case "array":
                nullable = kind.get("containsNull", True)
                return pa.list_(pa.field("element", _type(kind["elementType"], f"{path}[]"), nullable=nullable))
            case "map":
                key = _type(kind["keyType"], f"{path}.key")
                nullable = kind.get("valueContainsNull", True)
                return pa.map_(key, pa.field("value", _type(kind["valueType"], f"{path}.value"), nullable))
    shown = kind if isinstance(kind, str) else json.dumps(kind)
    hint = "leave the column out of the input, or write the view in SQL"
    message = f'column "{path}" has the Delta type {shown}, which Python views cannot see'
    raise MustStop("unsupported_type", message, hint)
