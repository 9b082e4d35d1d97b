"""`response_format`: the form that an answer must have."""

from typing import Annotated, Any

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.body import one_of
from inference.engine.protocol import Format

MOST_SCHEMA_BYTES = 256 * 1024
KINDS = ("text", "json_object", "json_schema", "regex", "grammar")


class JsonSchema(Struct):
    name: str | None = None
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Struct):
    type: Annotated[str, one_of(KINDS)]
    json_schema: JsonSchema | None = None
    regex: str | None = None
    grammar: str | None = None


def format_of(wanted: ResponseFormat | None, param: str = "response_format") -> Format | None:
    """Raises ApiError."""
    if wanted is None or wanted.type == "text":
        return None
    match wanted.type:
        case "json_object":
            return Format("json_object")
        case "json_schema":
            if wanted.json_schema is None or wanted.json_schema.schema is None:
                raise _missing(f"{param}.json_schema.schema")
            return schema_format(wanted.json_schema.schema, f"{param}.json_schema.schema")
        case "regex" | "grammar" as kind:
            text = getattr(wanted, kind)
            if not text:
                raise _missing(f"{param}.{kind}")
            return Format(kind, _short(text, f"{param}.{kind}"))
    raise errors.invalid(f"`{param}.type` must be one of {', '.join(KINDS)}.", param=f"{param}.type")


def schema_format(schema: dict[str, Any] | bool, param: str) -> Format:
    """Of a JSON Schema. Raises ApiError."""
    return Format("json_schema", _short(msgspec.json.encode(schema).decode(), param))


def _missing(param: str) -> errors.ApiError:
    return errors.invalid(f"`{param}` is required.", param=param)


def _short(text: str, param: str) -> str:
    if len(text) > MOST_SCHEMA_BYTES:
        raise errors.invalid(f"`{param}` is longer than {MOST_SCHEMA_BYTES // 1024} KiB.", param=param)
    return text
