"""The OpenAPI description (3.1) of every door, from the table that makes the routes: `GET /openapi.json`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import mnemic
from mnemic.serve import schemas
from mnemic.serve.door import JSON, NDJSON, SSE, Door

REFERENCE = "#/components/schemas/{model}"

NUMBER = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}

PLAIN: dict[str, dict[str, Any]] = {
    NDJSON: {"type": "string", "description": "JSON documents, one a line."},
    SSE: {
        "type": "object",
        "description": "Server-sent events; `data` is JSON.",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    },
}
FAILURES = {
    "400": "The body cannot be read.",
    "401": "A key is needed.",
    "403": "The key does not open this, or the request came from another site.",
    "404": "There is no such record or address.",
    "409": "The memory is in no state for this.",
    "413": "The body is too large.",
    "415": "The body is of another media type.",
    "421": "The server does not go by this Host.",
    "422": "The body is not what the schema says.",
    "429": "Too many requests.",
    "500": "The server failed.",
    "503": "The memory cannot be read or written now.",
}


def describe(doors: Sequence[Door], *, keyed: bool) -> dict[str, Any]:
    """The description of these doors; `keyed`: whether a key is needed."""
    models: list[type[BaseModel]] = [
        schemas.Failure,
        *(it for door in doors for it in (door.asks, door.answers)),
    ]
    _, made = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=REFERENCE
    )
    components: dict[str, Any] = {"schemas": made["$defs"]}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "mnemic",
            "version": mnemic.__version__,
            "summary": "A memory for language models: remember, recall with sources and dates, really forget.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {},
        "components": components,
    }
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
    for door in doors:
        described["paths"].setdefault(door.path, {})[door.method.lower()] = _operation(
            door, made["$defs"], keyed
        )
    return described


def _operation(door: Door, defined: dict[str, Any], keyed: bool) -> dict[str, Any]:
    def content(media: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
        described = {}
        for kind in media:
            json = kind == JSON
            schema = {"$ref": REFERENCE.format(model=model.__name__)} if json else PLAIN[kind]
            described[kind] = {"schema": schema}
        return described

    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1, "maximum": 10**18},
        }
        for name in re.findall(r"{(\w+)}", door.path)
    ]
    operation: dict[str, Any] = {
        "operationId": door.name,
        "summary": door.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "As asked.", "content": content(door.brings, door.answers)},
            **{
                status: {"description": said, "content": content([JSON], schemas.Failure)}
                for status, said in {**FAILURES, **door.fails}.items()
            },
        },
    }
    if door.method == "GET":
        asked = defined[door.asks.__name__]
        for name, schema in asked.get("properties", {}).items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": _unnulled(schema)})
    else:
        operation["requestBody"] = {"required": True, "content": content([door.sends], door.asks)}
    for name, (said, pattern) in door.headers.items():
        about = {"name": name, "in": "header", "required": False, "description": said}
        parameters.append(about | {"schema": {"type": "string", "pattern": f"^({pattern})$"}})
    if keyed and door.public:
        operation["security"] = []
    return operation


def _unnulled(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter, which is there or not but never null."""
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if not options:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **options[0]} if len(options) == 1 else {**rest, "anyOf": options}
