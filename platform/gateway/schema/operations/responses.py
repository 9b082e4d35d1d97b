"""OpenAI's responses, made and stored."""

from gateway.responses import endpoint as responses
from gateway.responses import events as response_events
from gateway.responses.request import INCLUDABLE, CreateRequest
from gateway.responses.response import Response
from gateway.schema import examples
from gateway.schema.operation import ORDER, Operation, Query

INCLUDE = Query(
    "include",
    {"type": "array", "items": {"enum": list(INCLUDABLE)}},
    "Nothing more is answered for it: what was asked for when the response was made is there.",
)

OPERATIONS = (
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
)
