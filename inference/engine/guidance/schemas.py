"""JSON Schemas before they become grammars: how they are to be read, and whether what they describe has an end."""

import json
from collections.abc import Iterator
from typing import Any

from inference.engine.guidance.errors import GrammarError

Schema = dict[str, Any]

WHITE_SPACE = r"[ \n]{0,24}"
"""Between the parts of JSON: as much as indenting needs. Without a bound, a hot row may write nothing else."""
LENIENT = {"lenient": True, "coerce_one_of": True}
"""Keywords that the compiler does not know are passed over, and `oneOf` counts as `anyOf`."""
ROUNDS = 20
SHAPES = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}
"""Keywords that say what kind of value it is."""


def read(text: str) -> Schema:
    """Raises GrammarError."""
    try:
        schema = json.loads(text)
    except RecursionError:
        raise GrammarError("it is nested too deeply") from None
    except ValueError as error:
        raise GrammarError(f"it is no JSON: {error}") from None
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise GrammarError("a schema is a JSON object")
    return schema


def prepared(schema: Schema, *, lenient: bool = False) -> str:
    """As JSON for the compiler, with how it is to be read: that is not for clients to choose. Raises GrammarError."""
    if _endless(schema):
        raise GrammarError("nothing that it describes has an end, for each part of it requires another")
    return json.dumps({**schema, "x-guidance": {"whitespace_pattern": WHITE_SPACE, **(LENIENT if lenient else {})}})


def arguments(function: Schema) -> str:
    """Of a tool's calls, as `prepared`. Only a strict tool has promised that every keyword of its schema counts.
    Raises GrammarError."""
    schema = function.get("parameters") or {"properties": {}}
    if not SHAPES & schema.keys():
        schema = {"type": "object", **schema}
    if "properties" in schema:
        # A model that may invent arguments does.
        schema = {"additionalProperties": False, **schema}
    if schema.get("type", "object") != "object":
        raise GrammarError("their `type` must be `object`")
    return prepared(schema, lenient=not function.get("strict"))


# --- ends ------------------------------------------------------------------------------------------------------------


def _endless(schema: Schema) -> bool:
    """Whether every value it allows would have to contain another one, and so on. Where that is hard to tell it is
    not: then an answer ends at its `max_tokens`."""
    try:
        references = set(_references(schema))
        proven: set[str] = set()
        for _ in range(ROUNDS):
            before = len(proven)
            for each in references - proven:
                target = _target(schema, each)
                if target is None or _ends(target, proven):
                    proven.add(each)
            if len(proven) == before:
                return not _ends(schema, proven)
    except RecursionError:
        pass  # the compiler says what is wrong with it
    return False


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _target(schema: Schema, reference: str) -> Any:
    """None for what is not a pointer into the schema itself, or points nowhere."""
    if not reference.startswith("#"):
        return None
    part: Any = schema
    for key in reference[1:].split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, dict) or key not in part:
            return None
        part = part[key]
    return part


def _ends(part: Any, proven: set[str]) -> bool:
    """Whether some value of it does. proven: references to what does."""
    if not isinstance(part, dict):
        return part is not False
    reference = part.get("$ref")
    if isinstance(reference, str) and reference not in proven:
        return False
    if not all(_ends(each, proven) for each in _list(part, "allOf")):
        return False
    for name in ("anyOf", "oneOf"):
        if name in part and not any(_ends(each, proven) for each in _list(part, name)):
            return False
    match part.get("type"):
        case "object":
            properties = part.get("properties")
            required = [name for name in _list(part, "required") if isinstance(name, str)]
            return not isinstance(properties, dict) or all(_ends(properties.get(name, {}), proven) for name in required)
        case "array":
            least = part.get("minItems")
            least = least if isinstance(least, int) else 0
            first = _list(part, "prefixItems")
            return all(_ends(each, proven) for each in first[:least]) and (
                least <= len(first) or _ends(part.get("items", {}), proven)
            )
    return True


def _list(part: Schema, name: str) -> list[Any]:
    value = part.get(name)
    return value if isinstance(value, list) else []
