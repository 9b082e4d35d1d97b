"""Bounded schemas for structured output: whatever follows one of them ends within some hundred tokens."""

from typing import Any

WORD = {"type": "string", "maxLength": 12}

SCHEMAS: dict[str, Any] = {
    "references": {
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": {"$ref": "#/$defs/number"}, "y": {"$ref": "#/$defs/number"}},
                "required": ["x", "y"],
                "additionalProperties": False,
            },
            "number": {"type": "integer", "minimum": -99, "maximum": 99},
        },
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}},
        "required": ["from", "to"],
        "additionalProperties": False,
    },
    "arrays": {
        "type": "array",
        "items": {"type": "array", "items": WORD, "minItems": 1, "maxItems": 3},
        "minItems": 2,
        "maxItems": 4,
    },
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "boolean"}, {"type": "null"}, {"enum": ["a", 1, None]}],
        "items": False,
        "minItems": 3,
    },
    "patterns": {
        "type": "object",
        "properties": {
            "plate": {"type": "string", "pattern": "^[A-Z]{1,3}-[A-Z]{1,2} [1-9][0-9]{0,3}$"},
            "colour": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        },
        "required": ["plate", "colour"],
        "additionalProperties": False,
    },
    "choices": {
        "type": "object",
        "properties": {"mood": {"enum": ["glad", "sad", "grüß", 'qu"ote']}, "kind": {"const": "answer"}},
        "required": ["mood", "kind"],
        "additionalProperties": False,
    },
    "one of": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "minimum": 0, "maximum": 10}},
                "required": ["kind", "radius"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"kind": {"const": "square"}, "side": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["kind", "side"],
                "additionalProperties": False,
            },
            {"type": "boolean"},
        ]
    },
    "any of": {
        "anyOf": [
            {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            {"type": "integer", "minimum": 100, "maximum": 110},
            {"type": ["string", "null"], "maxLength": 5},
        ]
    },
    "nested": {
        "type": "object",
        "properties": {
            "person": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 2, "maxLength": 20},
                    "address": {
                        "type": "object",
                        "properties": {"street": WORD, "number": {"type": "integer", "minimum": 1, "maximum": 999}},
                        "required": ["street", "number"],
                        "additionalProperties": False,
                    },
                },
                "required": ["name", "address"],
                "additionalProperties": False,
            },
            "tags": {"type": "array", "items": WORD, "maxItems": 3},
            "note": WORD,
        },
        "required": ["person", "tags"],
        "additionalProperties": False,
    },
    "numbers": {
        "type": "object",
        "properties": {
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "above": {"type": "number", "exclusiveMinimum": 2.5, "maximum": 3.75},
            "even": {"type": "integer", "minimum": -20, "maximum": 20, "multipleOf": 2},
            "count": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1000},
        },
        "required": ["share", "above", "even", "count"],
        "additionalProperties": False,
    },
    "formats": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "moment": {"type": "string", "format": "date-time", "maxLength": 40},
            "id": {"type": "string", "format": "uuid"},
            "mail": {"type": "string", "format": "email", "maxLength": 40},
            "host": {"type": "string", "format": "ipv4"},
        },
        "required": ["day", "moment", "id", "mail", "host"],
        "additionalProperties": False,
    },
    "recursive": {
        "$defs": {
            **{
                f"level_{depth}": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "integer", "minimum": 0, "maximum": 9},
                        "children": {"type": "array", "items": {"$ref": f"#/$defs/level_{depth + 1}"}, "maxItems": 2},
                    },
                    "required": ["value", "children"],
                    "additionalProperties": False,
                }
                for depth in range(3)
            },
            "level_3": {"type": "null"},
        },
        "$ref": "#/$defs/level_0",
    },
}

LIST = {
    "type": "object",
    "properties": {"head": {"type": "boolean"}, "tail": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
    "required": ["head", "tail"],
    "additionalProperties": False,
}
"""It contains itself, as often as the model likes."""
