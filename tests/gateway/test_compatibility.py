"""docs/compatibility.md says what becomes of every field and endpoint that the SDKs know of; the code does that."""

import ast
import inspect
import io
import itertools
import json
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anthropic.resources.messages.batches
import anthropic.resources.messages.messages
import openai.resources.audio.speech
import openai.resources.audio.transcriptions
import openai.resources.audio.translations
import openai.resources.audio.voices
import openai.resources.batches
import openai.resources.chat.completions.completions
import openai.resources.chat.completions.messages
import openai.resources.completions
import openai.resources.embeddings
import openai.resources.files
import openai.resources.models
import openai.resources.responses.input_items
import openai.resources.responses.input_tokens
import openai.resources.responses.responses
import pytest
from anthropic.types import ContentBlockParam, message_count_tokens_params, message_create_params
from msgspec import Struct
from openai.types import completion_create_params as completion_params
from openai.types import embedding_create_params as embedding_params
from openai.types.audio import speech_create_params as speech_params
from openai.types.audio import transcription_create_params as transcription_params
from openai.types.audio import translation_create_params as translation_params
from openai.types.chat import ChatCompletionContentPartParam, ChatCompletionMessageParam
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import ResponseInputParam, response_create_params

from gateway.anthropic import request as anthropic_request
from gateway.anthropic.endpoint import Messages
from gateway.audio.form import TranscriptionForm, TranslationForm
from gateway.audio.speech import Speech, SpeechRequest
from gateway.audio.transcriptions import Transcriptions, Translations
from gateway.body import decode, refuse_unsupported
from gateway.chat import ChatCompletions, ChatRequest
from gateway.completions import CompletionRequest, Completions
from gateway.context import RequestContext
from gateway.embeddings import EmbeddingRequest, Embeddings
from gateway.errors import ApiError
from gateway.forms import Upload
from gateway.responses import items
from gateway.responses.given import read_items
from gateway.responses.request import CreateRequest, ask_of, read
from gateway.schema.document import routes
from tests.support.server import ROOT

PAGE = (ROOT / "docs/compatibility.md").read_text()
HERE = {"honoured", "refused", "without effect", "elsewhere", "not here"}


# --- the page --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    names: list[str]
    here: str
    example: str

    def body(self, name: str) -> dict[str, Any]:
        """The example's fields, without those that belong to the row's other names."""
        body: dict[str, Any] = json.loads("{" + self.example.strip("`").replace("…", name) + "}")
        return {key: value for key, value in body.items() if key == name or key not in self.names}


def rows(section: str, column: str) -> list[Row]:
    """Those of all tables of a section (`## Chat: …`) whose first column is called that."""
    [text] = [part for part in re.split(r"^## ", PAGE, flags=re.M) if re.match(rf"{section}\b", part)]
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, _, *lines = [[cell.strip() for cell in re.split(r"\s\|\s", f" {line} ")] for line in table.splitlines()]
        if head[1].strip("`") == column:
            found += [Row(re.findall(r"`([^`]+)`", line[1]), line[2], line[3]) for line in lines]
    assert found, (section, column)
    return found


def here(section: str, column: str) -> dict[str, Row]:
    """By name, each of which is listed once."""
    listed = [(name, row) for row in rows(section, column) for name in row.names]
    assert len(dict(listed)) == len(listed), [name for name, _ in listed]
    assert {row.here for _, row in listed} <= HERE
    return dict(listed)


# --- the SDKs --------------------------------------------------------------------------------------------------------


def fields(module: ModuleType) -> set[str]:
    """Of the request that a module of an SDK describes, streamed or not."""
    described = [
        each
        for name, each in vars(module).items()
        if is_object(each) and re.fullmatch(r"\w+Params(Base|NonStreaming|Streaming)?", name)
    ]
    assert described
    return set(itertools.chain.from_iterable(map(typing.get_type_hints, described)))


def kinds(of: Any, key: str) -> set[str]:
    """The values of `key` that tell apart the objects that a value of this type may be or hold."""
    literals = [typing.get_type_hints(each)[key] for each in objects(of)]
    return {value for literal in literals for value in values(literal)}


def objects(of: Any) -> Iterator[Any]:
    if is_object(of):
        yield of
    for inner in typing.get_args(of):
        yield from objects(inner)


def values(literal: Any) -> Iterator[str]:
    for inner in typing.get_args(literal):
        if isinstance(inner, str):
            yield inner
        else:
            yield from values(inner)


def is_object(of: Any) -> bool:
    """Both typing's typed dictionaries and typing_extensions'."""
    return isinstance(of, type) and issubclass(of, dict) and hasattr(of, "__total__")


def field(params: type, name: str) -> Any:
    return typing.get_type_hints(params)[name]


# --- the code --------------------------------------------------------------------------------------------------------


def responses(body: bytes, context: RequestContext) -> None:
    request, context.ignored = read(body)
    ids = items.Ids("req_2")
    stored = items.Message(id="msg_1_0", role="user", content=[items.InputText("Hi")])
    ask_of(request, read_items(request.input or [], ids, {stored.id: stored}) or [stored], before=0)


def count(body: bytes, context: RequestContext) -> None:
    request, fields = decode(body, anthropic_request.read_count)
    refuse_unsupported(fields, anthropic_request.UNSUPPORTED)
    anthropic_request.ask_to_count(request)
    context.ignored = anthropic_request.ignored(fields, anthropic_request.KNOWN_OF_COUNT)


def as_form(parse: Callable[[Upload, RequestContext], Any]) -> Callable[[bytes, RequestContext], Any]:
    """Takes JSON as the SDK makes a form of it."""

    def parse_json(body: bytes, context: RequestContext) -> Any:
        parts: list[tuple[str, str]] = []
        for name, value in json.loads(body).items():
            match value:
                case list():
                    parts += [(f"{name}[]", str(each)) for each in value]
                case dict():
                    parts += [(f"{name}[{key}]", str(each)) for key, each in value.items()]
                case _:
                    parts.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
        form = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="a"' if name == "file" else b"", value.encode())
            for name, value in parts
        )
        form += b"--x--\r\n"
        return parse(Upload(io.BytesIO(form), len(form), "multipart/form-data; boundary=x"), context)

    return parse_json


@dataclass(frozen=True)
class Dialect:
    section: str
    sdk: ModuleType
    request: type[Struct]
    parse: Callable[[bytes, RequestContext], Any]
    least: dict[str, Any]
    """The smallest body."""


USER = {"role": "user", "content": "Hi"}
DIALECTS = [
    Dialect("Chat", chat_params, ChatRequest, ChatCompletions().parse, {"model": "m", "messages": [USER]}),
    Dialect("Completions", completion_params, CompletionRequest, Completions().parse, {"model": "m", "prompt": "a"}),
    Dialect("Embeddings", embedding_params, EmbeddingRequest, Embeddings().parse, {"model": "m", "input": "a"}),
    Dialect(
        "Transcriptions", transcription_params, TranscriptionForm, as_form(Transcriptions().parse),
        {"model": "m", "file": "a"},
    ),
    Dialect(
        "Translations", translation_params, TranslationForm, as_form(Translations().parse), {"model": "m", "file": "a"}
    ),
    Dialect("Speech", speech_params, SpeechRequest, Speech().parse, {"model": "m", "input": "a", "voice": "b"}),
    Dialect("Responses", response_create_params, CreateRequest, responses, {"model": "m", "input": "a"}),
    Dialect(
        "Messages", message_create_params, anthropic_request.MessagesRequest, Messages().parse,
        {"model": "m", "max_tokens": 9, "messages": [USER]},
    ),
    Dialect(
        "Counting", message_count_tokens_params, anthropic_request.PromptFields, count,
        {"model": "m", "messages": [USER]},
    ),
]  # fmt: skip
CHAT = chat_params.CompletionCreateParamsBase
RESPONSE = response_create_params.ResponseCreateParamsBase
MESSAGE = message_create_params.MessageCreateParamsBase
KINDS = [
    ("Chat", "messages.role", kinds(ChatCompletionMessageParam, "role")),
    ("Chat", "messages.content.type", kinds(ChatCompletionContentPartParam, "type")),
    ("Chat", "tools.type", kinds(field(CHAT, "tools"), "type")),
    ("Chat", "tool_choice.type", kinds(field(CHAT, "tool_choice"), "type")),
    ("Chat", "response_format.type", kinds(field(CHAT, "response_format"), "type")),
    ("Responses", "input.type", kinds(ResponseInputParam, "type")),
    ("Responses", "tools.type", kinds(field(RESPONSE, "tools"), "type")),
    ("Responses", "tool_choice.type", kinds(field(RESPONSE, "tool_choice"), "type")),
    ("Messages", "messages.content.type", kinds(ContentBlockParam, "type")),
    ("Messages", "tools.type", kinds(field(MESSAGE, "tools"), "type")),
    ("Messages", "tool_choice.type", kinds(field(MESSAGE, "tool_choice"), "type")),
    ("Messages", "thinking.type", kinds(field(MESSAGE, "thinking"), "type")),
]  # fmt: skip
LISTED = [(dialect, name, row) for dialect in DIALECTS for name, row in here(dialect.section, "field").items()]
LISTED_KINDS = [
    (next(dialect for dialect in DIALECTS if dialect.section == section), column, name, row)
    for section, column, _ in KINDS
    for name, row in here(section, column).items()
]


def sent(dialect: Dialect, body: dict[str, Any]) -> list[str] | ApiError:
    """What is named as without effect, or why the whole is refused."""
    context = RequestContext.of_headers([])
    try:
        dialect.parse(json.dumps({**dialect.least, **body}).encode(), context)
    except ApiError as error:
        return error
    return context.ignored


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.section)
def test_every_field_is_listed(dialect: Dialect) -> None:
    listed = here(dialect.section, "field")
    assert fields(dialect.sdk) - listed.keys() == set(), "known to the SDK"
    assert set(dialect.request.__struct_fields__) - listed.keys() == set(), "known to the code"


@pytest.mark.parametrize(("section", "column", "known"), KINDS, ids=[f"{each[0]}-{each[1]}" for each in KINDS])
def test_every_kind_is_listed(section: str, column: str, known: set[str]) -> None:
    assert known
    assert known - here(section, column).keys() == set()


@pytest.mark.parametrize(
    ("dialect", "name", "row"), LISTED, ids=[f"{each[0].section}-{each[1]}" for each in LISTED]
)  # fmt: skip
def test_a_field_is_what_the_page_says(dialect: Dialect, name: str, row: Row) -> None:
    if row.here == "elsewhere":
        assert name not in dialect.request.__struct_fields__
        return
    result = sent(dialect, row.body(name) if row.here == "refused" else merged(row))
    match row.here:
        case "honoured":
            assert name in dialect.request.__struct_fields__
            assert not isinstance(result, ApiError), result
            assert name not in result
        case "refused":
            assert isinstance(result, ApiError) and result.status == 400, result
            assert re.match(rf"{name}\b", result.param or ""), result.param
        case "without effect":
            assert not isinstance(result, ApiError), result
            assert name in result
        case _:
            pytest.fail(row.here)


def merged(row: Row) -> dict[str, Any]:
    return {key: value for name in row.names for key, value in row.body(name).items()}


@pytest.mark.parametrize(
    ("dialect", "column", "name", "row"), LISTED_KINDS,
    ids=[f"{each[0].section}-{each[1]}-{each[2]}" for each in LISTED_KINDS],
)  # fmt: skip
def test_a_kind_is_what_the_page_says(dialect: Dialect, column: str, name: str, row: Row) -> None:
    body = row.body(name)
    assert f'"{name}"' in json.dumps(body)
    result = sent(dialect, body)
    if row.here == "honoured":
        assert not isinstance(result, ApiError), result
    else:
        assert isinstance(result, ApiError) and result.status == 400, result
        assert (result.param or "").startswith(column.split(".")[0])


@pytest.mark.parametrize(
    ("section", "body", "named"),
    [
        ("Chat", {"messages": [{**USER, "content": [{"type": "text", "text": "a", "x": 1}]}]}, "messages.content.x"),
        ("Chat", {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, "tools.function.x"),
        ("Chat", {"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ("Completions", {"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ("Chat", {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}},
         "response_format.json_schema.x"),
        ("Responses", {"text": {"format": {"type": "text", "x": 1}}}, "text.format.x"),
        ("Responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a", "x": 1}]}]},
         "input.content.x"),
        ("Messages", {"output_config": {"format": {"type": "json_schema", "schema": {}, "x": 1}}},
         "output_config.format.x"),
    ],
)  # fmt: skip
def test_what_is_in_no_table_is_named_at_any_depth(section: str, body: dict[str, Any], named: str) -> None:
    dialect = next(dialect for dialect in DIALECTS if dialect.section == section)
    assert sent(dialect, body) == [named]
    # Answers that are sent back have all their empty fields.
    assert sent(dialect, json.loads(json.dumps(body).replace('"x": 1', '"x": [], "y": null'))) == []


# --- endpoints -------------------------------------------------------------------------------------------------------

RESOURCES = [
    openai.resources.chat.completions.completions,
    openai.resources.chat.completions.messages,
    openai.resources.completions,
    openai.resources.embeddings,
    openai.resources.audio.transcriptions,
    openai.resources.audio.translations,
    openai.resources.audio.speech,
    openai.resources.audio.voices,
    openai.resources.files,
    openai.resources.batches,
    openai.resources.models,
    openai.resources.responses.responses,
    openai.resources.responses.input_items,
    openai.resources.responses.input_tokens,
    anthropic.resources.messages.messages,
    anthropic.resources.messages.batches,
]
METHODS = {"_get": "GET", "_get_api_list": "GET", "_post": "POST", "_delete": "DELETE"}


def endpoints(module: ModuleType) -> set[str]:
    """Those that an SDK's module calls, as the page writes them."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        match node:
            case ast.Call(func=ast.Attribute(attr=called), args=[first, *_]) if called in METHODS:
                path = first.args[0] if isinstance(first, ast.Call) else first
                if isinstance(path, ast.Constant):
                    found.add(f"{METHODS[called]} {plain(path.value)}")
    return found


def plain(path: str) -> str:
    path = re.sub(r"\{\w+\}", "{id}", path)
    return path if path.startswith("/v1") else f"/v1{path}"


def test_every_endpoint_is_listed() -> None:
    known = set().union(*map(endpoints, RESOURCES))
    assert {"POST /v1/chat/completions", "GET /v1/responses/{id}", "POST /v1/messages/batches"} <= known
    assert known - here("Endpoints", "endpoint").keys() == set()


def test_an_endpoint_is_what_the_page_says() -> None:
    routed = {f"{method} {plain(path)}" for path, consumer in routes() for method in consumer.methods}
    for name, row in here("Endpoints", "endpoint").items():
        assert (name in routed) == (row.here == "honoured"), name
