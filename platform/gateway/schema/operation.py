"""The form of what is said of an operation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from gateway import errors
from gateway.endpoint import Endpoint
from gateway.schema.examples import Json


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query."""

    name: str
    schema: Json
    description: str
    example: int | str | None = None
    """Those that have one are required."""


BINARY = Annotated[str, Meta(extra_json_schema={"format": "binary"})]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`name` is the operation's id in generated clients."""

    consumer: type[Endpoint]
    method: Literal["GET", "POST", "DELETE"]
    name: str
    tag: str
    summary: str
    takes: Any = None
    """The type of its body."""
    takes_form: bool = False
    """The body is a form, not JSON."""
    gives: Any
    """The type of its answer with status 200; BINARY: bytes that are somebody's own affair."""
    binary_as: tuple[str, ...] = ("application/octet-stream",)
    """The content types that bytes may have."""
    gives_or: Any = None
    """Another type of its answer, if that is asked for."""
    gives_text: bool = False
    """It may be plain text as well, if that is asked for."""
    events: tuple[Any, ...] = ()
    """The types that the events of its stream hold, if it can stream."""
    ends_with_done: bool = False
    """The stream's last event is `[DONE]`."""
    gives_otherwise: Mapping[int, Any] = field(default_factory=dict)
    """The types of other statuses' answers that are no errors."""
    refuses: tuple[int, ...] = ()
    """Statuses of errors beside those that every consumer of its kind has."""
    error: Any = errors.ErrorBody
    query: tuple[Query, ...] = ()
    examples: Mapping[str, Json] = field(default_factory=dict)
    """Bodies that work, by what they show."""


ORDER = Query("order", {"enum": ["asc", "desc"], "default": "desc"}, "The oldest first, or the latest.")
