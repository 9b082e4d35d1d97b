"""The gateway's operations as OpenAPI, added to what drf-spectacular finds of Django's views."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from channels.routing import URLRouter
from django.contrib.admindocs.views import simplify_regex

from gateway import routing
from gateway.endpoint import Endpoint, KeyedEndpoint
from gateway.schema.components import Schema, components
from gateway.schema.operation import BINARY, Operation
from gateway.schema.operations import OPERATIONS
from gateway.schema.statuses import ALWAYS, HEADERS, NUMBERS, RATES, REFUSALS, expected

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"
TEXT = "text/plain"
PARAMETERS = {
    "model": "The model's name or one of its aliases; it may hold slashes.",
    "id": "As in the answer, or, for a request that runs, the `x-request-id` that it was sent with.",
}
"""Of paths."""
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer sk-atelier-…`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: sk-atelier-…`"},
}


def add_gateway(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A postprocessing hook of drf-spectacular's."""
    paths, shared = gateway_document()
    result["paths"] = {**paths, **result["paths"]}
    for kind, named in shared.items():
        result["components"][kind] = {**result["components"].get(kind, {}), **named}
    return result


@cache
def gateway_document() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The paths of the gateway, and the components that they share."""
    taken = [operation.takes for operation in OPERATIONS if operation.takes is not None]
    given = [type for operation in OPERATIONS for type in _given(operation)]
    references, schemas = components(dict.fromkeys(taken), dict.fromkeys(given))
    paths: dict[str, Schema] = {}
    refusals: dict[str, Schema] = {}
    for path, consumer in routes():
        for operation in OPERATIONS:
            if operation.consumer is consumer:
                paths.setdefault(path, {})[operation.method.lower()] = described(operation, path, references)
                for status in refused(operation):
                    refusals[_refusal_name(operation, status)] = refusal(operation, status, references)
    headers = {name: header(name) for name in HEADERS}
    return paths, {"schemas": schemas, "responses": refusals, "headers": headers, "securitySchemes": SECURITY}


def routes() -> Iterator[tuple[str, type[Endpoint]]]:
    """Every path that the gateway answers, as OpenAPI writes it, but for the one that catches all others."""
    router = routing.application.application
    assert isinstance(router, URLRouter)
    for route in router.routes:
        path = simplify_regex(str(route.pattern)).replace("<", "{").replace(">", "}")
        consumer: type[Endpoint] = route.callback.consumer_class
        if consumer is not routing.Unknown:
            yield path, consumer


def described(operation: Operation, path: str, references: dict[Any, Schema]) -> Schema:
    """One Operation Object."""
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": PARAMETERS[name]}
        for name in PARAMETERS
        if f"{{{name}}}" in path
    ]
    asked = [
        {
            "name": query.name,
            "in": "query",
            "schema": query.schema,
            "description": query.description,
            "required": query.example is not None,
            **({} if query.example is None else {"example": query.example}),
        }
        for query in operation.query
    ]
    keyed = issubclass(operation.consumer, KeyedEndpoint)
    said: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [{name: []} for name in SECURITY] if keyed else [],
        "parameters": [*named, *asked],
        "responses": {
            **{str(status): answer(operation, status, references) for status in _answered(operation)},
            **{
                str(status): {"$ref": f"#/components/responses/{_refusal_name(operation, status)}"}
                for status in refused(operation)
            },
        },
    }
    if operation.takes is not None:
        shown = {name: {"value": body} for name, body in operation.examples.items()}
        content = {"schema": references[operation.takes], **({"examples": shown} if shown else {})}
        said["requestBody"] = {"required": True, "content": {FORM if operation.takes_form else JSON: content}}
    return said


def answer(operation: Operation, status: int, references: dict[Any, Schema]) -> Schema:
    """What is answered when all went well."""
    given = _answered(operation)[status]
    types = operation.binary_as if given is BINARY else (JSON, TEXT) if operation.gives_text else (JSON,)
    whole = references[given]
    if operation.gives_or is not None:
        whole = {"anyOf": [whole, references[operation.gives_or]]}
    content = {each: {"schema": {"type": "string"} if each == TEXT else whole} for each in types}
    keyed = issubclass(operation.consumer, KeyedEndpoint)
    if operation.events and status == 200:
        content[EVENTS] = {"schema": event(operation, references)}
    description = "The answer, whole or, if that is asked for, as events." if operation.events else "The answer."
    return {
        "description": description if status == 200 else "Not now.",
        "headers": _headers(*ALWAYS, *(RATES if keyed else ()), "x-quota-warning", "x-ignored-parameters"),
        "content": content,
    }


def event(operation: Operation, references: dict[Any, Schema]) -> Schema:
    """Of one of a stream's events. (How a whole stream is described, OpenAPI says only from 3.2 on.)"""
    holds = [references[type] for type in (*operation.events, operation.error)]
    data: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": {"anyOf": holds}}
    return {
        "type": "object",
        "description": "One server-sent event; the stream is a sequence of them. What breaks it off is an event with "
        "the body of an error. Lines that begin with a colon are signs of life.",
        "properties": {
            "event": {"type": "string"},
            "data": {"anyOf": [{"const": "[DONE]"}, data]} if operation.ends_with_done else data,
        },
        "required": ["data"],
    }


def refused(operation: Operation) -> list[int]:
    """The statuses of its errors, but for those that mean something else here."""
    return sorted({*expected(operation.consumer), *operation.refuses} - _answered(operation).keys())


def refusal(operation: Operation, status: int, references: dict[Any, Schema]) -> Schema:
    told = REFUSALS[status]
    return {
        "description": told.description,
        "headers": _headers(*ALWAYS, *told.headers),
        "content": {JSON: {"schema": references[operation.error]}},
    }


def header(name: str) -> Schema:
    schema = {"type": "number" if name in NUMBERS else "string"}
    return {"description": HEADERS[name], "required": name in ALWAYS, "schema": schema}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusal_name(operation: Operation, status: int) -> str:
    """Of the component; `AnthropicNotFound` where errors are worded as in another dialect."""
    dialect = operation.tag if operation.error is not OPERATIONS[0].error else ""
    return dialect + REFUSALS[status].name


def _answered(operation: Operation) -> dict[int, Any]:
    """The types of what is answered, by status, errors aside."""
    whole = {} if operation.gives is None else {200: operation.gives}
    return {**whole, **operation.gives_otherwise}


def _given(operation: Operation) -> list[Any]:
    more = () if operation.gives_or is None else (operation.gives_or,)
    return [*_answered(operation).values(), *more, *operation.events, operation.error]
