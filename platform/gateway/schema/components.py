"""JSON Schema of the gateway's structs, as components of an OpenAPI document."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec import inspect as types

PREFIX = "#/components/schemas/"
REFERENCE = re.compile(rb'"' + PREFIX.encode() + rb'([\w.-]+)"')

Schema: TypeAlias = dict[str, Any]


def components(taken: Iterable[Any], given: Iterable[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """taken: the types of request bodies; given: those of answers. How each of them is referred to, and the components
    that they refer to.

    A field that a body may leave out is in an answer all the same, unless it is UNSET: the schemas of structs that only
    answers have say so."""
    taken, given = list(taken), list(given)
    found, named = msgspec.json.schema_components([*taken, *given], ref_template=PREFIX + "{name}")
    read = structs_in(taken)
    for struct in structs_in([*taken, *given]).values():
        schema = named.get(long_name(struct.cls)) or named[struct.cls.__name__]
        describe(schema, struct)
        if struct.cls not in read:
            schema["required"] = [field.encode_name for field in struct.fields if always_sent(struct, field)]
    plain = msgspec.json.encode([found, {public_name(name): schema for name, schema in named.items()}])
    references, schemas = msgspec.json.decode(REFERENCE.sub(_renamed, plain))
    return dict(zip([*taken, *given], references, strict=True)), schemas


def structs_in(of: Iterable[Any]) -> dict[type[Struct], types.StructType]:
    """Every struct that these types are made of."""
    found: dict[type[Struct], types.StructType] = {}
    waiting = list(types.multi_type_info(of))
    while waiting:
        match waiting.pop():
            case types.StructType(cls=cls) as struct if cls not in found:
                found[cls] = struct
                waiting += [field.type for field in struct.fields]
            case types.UnionType(types=several) | types.TupleType(item_types=several):
                waiting += several
            case types.CollectionType(item_type=one) | types.DictType(value_type=one) | types.Metadata(type=one):
                waiting.append(one)
    return found


def always_sent(struct: types.StructType, field: types.Field) -> bool:
    has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    return field.required or (has_default and not struct.cls.__struct_config__.omit_defaults)


def describe(schema: Schema, struct: types.StructType) -> None:
    """Adds what the source says below each field. That null is a default goes without saying."""
    said = field_docstrings(struct.cls)
    for field in struct.fields:
        described = schema["properties"][field.encode_name]
        if field.default is None:
            del described["default"]
        if field.name in said:
            described.setdefault("description", said[field.name])


def field_docstrings(cls: type) -> dict[str, str]:
    """By field, the strings that stand below a class's fields, inherited ones included. Python itself drops them."""
    said: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if each is Struct or not issubclass(each, Struct):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str() as text)),
                ):
                    said[name] = inspect.cleandoc(text)
    return said


def long_name(cls: type) -> str:
    """As msgspec calls it where another struct has the same short name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def public_name(name: str) -> str:
    """`gateway.chat_answers.Choice` as clients should see it: ChatAnswersChoice."""
    *modules, own = name.split(".")
    return "".join(word.title() for module in modules[1:] for word in module.split("_")) + own


def _renamed(reference: "re.Match[bytes]") -> bytes:
    return f'"{PREFIX}{public_name(reference[1].decode())}"'.encode()
