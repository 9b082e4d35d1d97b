"""What each consumer takes and gives: one entry for each operation. Its path is routing's, its key the consumer's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from gateway import chat_answers, completions, errors
from gateway.anthropic import errors as anthropic_errors
from gateway.anthropic import events as anthropic_events
from gateway.anthropic import request as anthropic_request
from gateway.anthropic import wording as anthropic_wording
from gateway.anthropic.endpoint import CountTokens, Messages, TokensCount
from gateway.batches import endpoint as batches
from gateway.cancelling import CancelledRequest, RunningRequest
from gateway.capabilities import Capabilities, CapabilitiesObject
from gateway.catalogue import ModelDetail, ModelList, ModelObject, Models
from gateway.chat import ChatCompletions, ChatRequest
from gateway.completions import Completions
from gateway.diagnostics import Diagnostics, DiagnosticsReport
from gateway.embeddings import EmbeddingList, EmbeddingRequest, Embeddings
from gateway.endpoint import Endpoint
from gateway.files import endpoint as files
from gateway.files.upload import PURPOSES, FileForm
from gateway.health import Health, Life, Readiness, Ready
from gateway.key import KeyObject, OwnKey
from gateway.organization import GROUPS, WIDTHS, CompletionsUsage, UsagePage
from gateway.rerank import Ranking, Rerank, RerankRequest
from gateway.responses import endpoint as responses
from gateway.responses import events as response_events
from gateway.responses.request import INCLUDABLE, CreateRequest
from gateway.responses.response import Response
from gateway.schema import examples
from gateway.schema.examples import Json
from gateway.usage import GROUPS as USAGE_GROUPS
from gateway.usage import KeyUsage, OwnUsage


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


INCLUDE = Query(
    "include",
    {"type": "array", "items": {"enum": list(INCLUDABLE)}},
    "Nothing more is answered for it: what was asked for when the response was made is there.",
)
ORDER = Query("order", {"enum": ["asc", "desc"], "default": "desc"}, "The oldest first, or the latest.")
MODEL = Query("model", {"type": "string"}, "Another one than the default model.")

TEXTS = {"type": "array", "items": {"type": "string"}}
USAGE = (
    Query("start_time", {"type": "integer", "minimum": 0}, "Unix seconds; required.", example=1_790_000_000),
    Query("end_time", {"type": "integer", "minimum": 0}, "Unix seconds, exclusive; now, if left out."),
    Query("bucket_width", {"enum": list(WIDTHS)}, "A minute, an hour or a day, in UTC; a day, if left out."),
    Query("group_by", {"type": "array", "items": {"enum": list(GROUPS)}}, "What each bucket is taken apart by."),
    Query("project_ids", TEXTS, "Only of these teams, by their short names."),
    Query("user_ids", TEXTS, "Only of these users, by their names."),
    Query("api_key_ids", TEXTS, "Only of these keys, by how they begin."),
    Query("models", TEXTS, "Only of these models."),
    Query("limit", {"type": "integer", "minimum": 1, "maximum": 1440}, "Buckets in a page."),
    Query("page", {"type": "string"}, "The `next_page` of the page before."),
)
DAY_OR_SECONDS = {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer", "minimum": 0}]}
OWN_USAGE = (
    Query("start", DAY_OR_SECONDS, "A day (in UTC) or Unix seconds; 30 days before the end, if left out."),
    Query("end", DAY_OR_SECONDS, "The same, exclusive; now, if left out."),
    Query("group_by", {"type": "array", "items": {"enum": list(USAGE_GROUPS)}}, "Day and model, if left out."),
)

OPERATIONS = (
    Operation(
        consumer=ChatCompletions,
        method="POST",
        name="createChatCompletion",
        tag="OpenAI",
        summary="A conversation in, an answer out",
        takes=ChatRequest,
        gives=chat_answers.Completion,
        events=(chat_answers.Chunk,),
        ends_with_done=True,
        examples=examples.CHAT,
    ),
    Operation(
        consumer=Completions,
        method="POST",
        name="createCompletion",
        tag="OpenAI",
        summary="Plain text or token ids in, text out",
        takes=completions.CompletionRequest,
        gives=completions.Completion,
        events=(completions.Completion,),
        ends_with_done=True,
        examples=examples.COMPLETIONS,
    ),
    Operation(
        consumer=responses.Responses,
        method="POST",
        name="createResponse",
        tag="OpenAI",
        summary="Items in, a response out, which can be stored and continued",
        takes=CreateRequest,
        gives=Response,
        events=(
            response_events.ResponseEvent,
            response_events.ItemEvent,
            response_events.PartEvent,
            response_events.TextDelta,
            response_events.TextDone,
            response_events.ReasoningDelta,
            response_events.ReasoningDone,
            response_events.ArgumentsDelta,
            response_events.ArgumentsDone,
        ),
        examples=examples.RESPONSES,
    ),
    Operation(
        consumer=responses.StoredResponses,
        method="GET",
        name="getResponse",
        tag="OpenAI",
        summary="A stored response",
        gives=Response,
        refuses=(404,),
        query=(
            INCLUDE,
            Query("stream", {"enum": ["false"]}, "A stored response is answered whole."),
        ),
    ),
    Operation(
        consumer=responses.StoredResponses,
        method="DELETE",
        name="deleteResponse",
        tag="OpenAI",
        summary="Delete a stored response",
        gives=responses.Deleted,
        refuses=(404,),
    ),
    Operation(
        consumer=responses.InputItems,
        method="GET",
        name="listInputItems",
        tag="OpenAI",
        summary="What the model was shown for a stored response",
        gives=responses.ItemList,
        refuses=(404,),
        query=(
            Query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": responses.MOST_LISTED, "default": responses.LISTED},
                "Items on a page.",
            ),
            ORDER,
            Query("after", {"type": "string"}, "The id of the item that the page begins after."),
            INCLUDE,
        ),
    ),
    Operation(
        consumer=responses.CancelResponse,
        method="POST",
        name="cancelResponse",
        tag="OpenAI",
        summary="Always refused: no response runs in the background here",
        gives=None,
        refuses=(404,),
    ),
    Operation(
        consumer=Embeddings,
        method="POST",
        name="createEmbedding",
        tag="OpenAI",
        summary="Texts in, vectors out",
        takes=EmbeddingRequest,
        gives=EmbeddingList,
        refuses=(404, 429, 499, 504),
        examples=examples.EMBEDDINGS,
    ),
    Operation(
        consumer=files.Files,
        method="POST",
        name="createFile",
        tag="OpenAI",
        summary="Upload a file",
        takes=FileForm,
        takes_form=True,
        gives=files.FileObject,
        examples=examples.FILES,
    ),
    Operation(
        consumer=files.Files,
        method="GET",
        name="listFiles",
        tag="OpenAI",
        summary="The files that are stored",
        gives=files.FileList,
        query=(
            Query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": files.MOST_LISTED, "default": files.MOST_LISTED},
                "Files on a page.",
            ),
            ORDER,
            Query("after", {"type": "string"}, "The id of the file that the page begins after."),
            Query("purpose", {"enum": [*PURPOSES, "batch_output"]}, "Only those with this purpose."),
        ),
    ),
    Operation(
        consumer=files.OneFile,
        method="GET",
        name="getFile",
        tag="OpenAI",
        summary="What is known of a file",
        gives=files.FileObject,
        refuses=(404,),
    ),
    Operation(
        consumer=files.OneFile,
        method="DELETE",
        name="deleteFile",
        tag="OpenAI",
        summary="Delete a file",
        gives=files.DeletedFile,
        refuses=(404,),
    ),
    Operation(
        consumer=files.FileContent,
        method="GET",
        name="getFileContent",
        tag="OpenAI",
        summary="What is in a file",
        gives=BINARY,
        refuses=(404,),
    ),
    Operation(
        consumer=batches.Batches,
        method="POST",
        name="createBatch",
        tag="OpenAI",
        summary="Have the requests of a file run when there is time for them",
        takes=batches.CreateBatch,
        gives=batches.BatchObject,
        refuses=(404,),
        examples=examples.BATCHES,
    ),
    Operation(
        consumer=batches.Batches,
        method="GET",
        name="listBatches",
        tag="OpenAI",
        summary="The batches that there are",
        gives=batches.BatchList,
        query=(
            Query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": batches.MOST_LISTED, "default": batches.LISTED},
                "Batches on a page.",
            ),
            Query("after", {"type": "string"}, "The id of the batch that the page begins after."),
        ),
    ),
    Operation(
        consumer=batches.OneBatch,
        method="GET",
        name="getBatch",
        tag="OpenAI",
        summary="How a batch is",
        gives=batches.BatchObject,
        refuses=(404,),
    ),
    Operation(
        consumer=batches.CancelBatch,
        method="POST",
        name="cancelBatch",
        tag="OpenAI",
        summary="Stop a batch; what has been answered stays",
        gives=batches.BatchObject,
        refuses=(404,),
    ),
    Operation(
        consumer=Models,
        method="GET",
        name="listModels",
        tag="OpenAI",
        summary="The models that are served",
        gives=ModelList,
    ),
    Operation(
        consumer=ModelDetail,
        method="GET",
        name="getModel",
        tag="OpenAI",
        summary="One model, by its name or an alias",
        gives=ModelObject,
        refuses=(404,),
    ),
    Operation(
        consumer=Messages,
        method="POST",
        name="createMessage",
        tag="Anthropic",
        summary="A conversation in, the next message out",
        takes=anthropic_request.MessagesRequest,
        gives=anthropic_wording.Message,
        events=(
            anthropic_events.MessageStart,
            anthropic_events.BlockStart,
            anthropic_events.BlockDelta,
            anthropic_events.BlockStop,
            anthropic_events.MessageDelta,
            anthropic_events.MessageStop,
        ),
        error=anthropic_errors.ErrorBody,
        examples=examples.MESSAGES,
    ),
    Operation(
        consumer=CountTokens,
        method="POST",
        name="countTokens",
        tag="Anthropic",
        summary="How many tokens a conversation has",
        takes=anthropic_request.PromptFields,
        gives=TokensCount,
        refuses=(404, 504),
        error=anthropic_errors.ErrorBody,
        examples=examples.COUNT_TOKENS,
    ),
    Operation(
        consumer=Rerank,
        method="POST",
        name="rerank",
        tag="Atelier",
        summary="A query and documents in, how relevant each is out",
        takes=RerankRequest,
        gives=Ranking,
        refuses=(404, 429, 499, 504),
        examples=examples.RERANK,
    ),
    Operation(
        consumer=RunningRequest,
        method="DELETE",
        name="cancelRequest",
        tag="Atelier",
        summary="Cancel a generation of one's own that is running",
        gives=CancelledRequest,
        refuses=(404,),
    ),
    Operation(
        consumer=Capabilities,
        method="GET",
        name="getCapabilities",
        tag="Atelier",
        summary="What the server and a model can do",
        gives=CapabilitiesObject,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=CompletionsUsage,
        method="GET",
        name="getCompletionsUsage",
        tag="OpenAI",
        summary="What was used, in buckets of time",
        gives=UsagePage,
        query=USAGE,
    ),
    Operation(
        consumer=OwnUsage,
        method="GET",
        name="getUsage",
        tag="Atelier",
        summary="What the key that asks has used, today, this week, this month and by days and models",
        gives=KeyUsage,
        query=OWN_USAGE,
    ),
    Operation(
        consumer=OwnKey,
        method="GET",
        name="getKey",
        tag="Atelier",
        summary="What the key that asks may do, has used, and has left",
        gives=KeyObject,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=Diagnostics,
        method="GET",
        name="getDiagnostics",
        tag="Atelier",
        summary="How the server and a model's engine are",
        gives=DiagnosticsReport,
        refuses=(404,),
        query=(MODEL,),
    ),
    Operation(
        consumer=Health,
        method="GET",
        name="getHealth",
        tag="Atelier",
        summary="Whether the gateway lives",
        gives=Life,
    ),
    Operation(
        consumer=Ready,
        method="GET",
        name="getReadiness",
        tag="Atelier",
        summary="Whether the default model can answer",
        gives=Readiness,
        gives_otherwise={503: Readiness},
    ),
)
