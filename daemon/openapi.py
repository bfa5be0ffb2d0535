"""The HTTP API as an OpenAPI document, made from the table of operations; `docs/openapi.json` is it.

Pure.  Both faces answer by it: on the control socket without tokens and without what begins with `/v1/console/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from daemon.build import product_version
from daemon.client import STREAM_TYPE
from daemon.operations import OPERATIONS, Operation, Parameter, ParameterType
from daemon.port import JsonValue

JSON_TYPE: Final = "application/json"
ARRAYS: Final = frozenset({"views", "history", "requests"})
"""Operations that answer with a list; all others answer with an object."""
TEXT: Final[dict[str, Any]] = {"type": "string"}
_TYPES: Final[dict[ParameterType, dict[str, Any]]] = {
    "text": TEXT,
    "flag": {"type": "boolean"},
    "number": {"type": "integer", "minimum": 0},
    "names": {"type": "array", "items": TEXT},
    "texts": {"type": "object", "additionalProperties": TEXT},
}
_REFUSALS: Final[dict[str, str]] = {
    "400": "A parameter is unknown, missing or of the wrong type.",
    "401": "A token is needed, or it is wrong.",
    "403": "The caller's role is too small, or a page of another site asked.",
    "404": "There is nothing of that name.",
    "409": "Somebody else was first.",
    "413": "The request is too large.",
    "415": "The request is not application/json.",
    "421": "The console is not known by this name.",
    "422": "It could not be done; the error says why.",
    "429": "Too many requests, or too many wrong tokens, came from here.",
    "503": "Not now: busy, starting or stopping.",
}


def api_description() -> dict[str, JsonValue]:
    """The document."""
    paths: dict[str, Any] = {
        "/v1": _looks("The operations.", {"type": "array", "items": {"type": "object"}}),
        "/v1/daemon": _looks("Process, version, state and project.", {"type": "object"}),
        "/v1/openapi.json": _looks("This document.", {"type": "object"}),
        "/v1/events": _events(),
        "/v1/console/caller": _looks("Who asks, and what of.", {"type": "object"}),
        "/v1/console/overview": _looks("How everything is, in one page.", {"type": "object"}),
        "/v1/console/relations": _looks(
            "A part of the list of views and datasets.",
            {"type": "object", "required": ["rows", "total", "offset", "limit", "states"]},
            [
                *(_query(name) for name in ("text", "kind", "state", "reads", "feeds", "sort")),
                *(_query(name, {"type": "integer", "minimum": 0}) for name in ("offset", "limit")),
            ],
        ),
        "/v1/console/relation": _looks(
            "All that is known at once of a view or dataset.", {"type": "object"}, [_query("name", required=True)]
        ),
        "/v1/console/graph": _looks(
            "A relation with its neighbours, laid out.",
            {"type": "object", "required": ["nodes", "edges", "width", "height"]},
            [_query("name", required=True), _query("open", {"type": "array", "items": TEXT})],
        ),
    }
    for operation in OPERATIONS.values():
        paths[f"/v1/{operation.name}"] = {"post": _operation(operation)}
        if not operation.writes:
            paths[f"/v1/console/{operation.name}"] = {"post": _patient(operation)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deltakeep",
            "version": product_version(),
            "description": "What can be asked of a daemon, over its control socket or over TCP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error()},
            "responses": {
                status: {
                    "description": text,
                    "content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, text in _REFUSALS.items()
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    """An operation with its parameters as a JSON object, answered with a value or as a stream of lines."""
    answered: dict[str, Any] = {"type": "array" if operation.name in ARRAYS else "object"}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation),
        "requestBody": _body(operation.parameters),
        "responses": {
            "200": {"description": "Done.", "content": {JSON_TYPE: {"schema": answered}, STREAM_TYPE: {}}},
            **_refusals(_REFUSALS),
        },
    }


def _patient(operation: Operation) -> dict[str, Any]:
    """The same for pages: what was answered before, while the daemon is busy."""
    answered = {
        "type": "object",
        "required": ["value", "at_ms", "busy"],
        "properties": {
            "value": {"type": "array" if operation.name in ARRAYS else "object"},
            "at_ms": {"type": "integer"},
            "busy": {"type": ["string", "null"]},
        },
    }
    return {
        **_operation(operation),
        "operationId": f"console_{operation.name}",
        "summary": f"{operation.summary} With its age, from before while the daemon is busy.",
        "responses": {
            "200": {"description": "The answer and its age.", "content": {JSON_TYPE: {"schema": answered}}},
            **_refusals(_REFUSALS),
        },
    }


def _description(operation: Operation) -> str:
    more = [f"`{one.name}` needs the role `{one.role}`." for one in operation.parameters if one.role != "read"]
    return " ".join([f"Needs the role `{operation.role}`.", *more])


def _body(parameters: Iterable[Parameter]) -> dict[str, Any]:
    given = list(parameters)
    required = [one.name for one in given if one.required]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {one.name: _schema(one) for one in given},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
    return {"required": bool(required), "content": {JSON_TYPE: {"schema": schema}}}


def _schema(parameter: Parameter) -> dict[str, Any]:
    kind = {**_TYPES[parameter.type], **({"maximum": parameter.maximum} if parameter.type == "number" else {})}
    if parameter.required:
        return kind
    if parameter.default is None:
        return {**kind, "type": [kind["type"], "null"], "default": None}
    default = list(parameter.default) if parameter.type == "names" else parameter.default
    return {**kind, "default": default}


def _looks(summary: str, answered: dict[str, Any], parameters: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "parameters": list(parameters),
            "responses": {
                "200": {"description": "Answered.", "content": {JSON_TYPE: {"schema": answered}}},
                **_refusals(("401", "403", "404", "421", "429", "503")),
            },
        }
    }


def _events() -> dict[str, Any]:
    return {
        "get": {
            "summary": "What happens, as server-sent events; `Last-Event-ID` goes on after an event.",
            "parameters": [{"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer", "minimum": 0}}],
            "responses": {
                "200": {"description": "A stream that does not end.", "content": {"text/event-stream": {}}},
                **_refusals(("401", "403", "421", "429", "503")),
            },
        }
    }


def _query(name: str, schema: dict[str, Any] = TEXT, *, required: bool = False) -> dict[str, Any]:
    place: Literal["query"] = "query"
    return {"name": name, "in": place, "required": required, "schema": schema}


def _refusals(statuses: Iterable[str]) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _error() -> dict[str, Any]:
    texts = dict.fromkeys(("code", "message", "hint", "where"), TEXT)
    problem = {"type": "object", "properties": dict.fromkeys(("where", "what", "expected", "hint"), TEXT)}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "hint", "where", "exit_code", "problems"],
                "properties": {
                    **texts,
                    "exit_code": {"type": "integer"},
                    "problems": {"type": "array", "items": problem},
                },
            }
        },
    }
