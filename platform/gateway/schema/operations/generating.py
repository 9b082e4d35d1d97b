"""What has models at work."""

from gateway import chat_answers, completions
from gateway.anthropic import errors as anthropic_errors
from gateway.anthropic import events as anthropic_events
from gateway.anthropic import request as anthropic_request
from gateway.anthropic import wording as anthropic_wording
from gateway.anthropic.endpoint import CountTokens, Messages, TokensCount
from gateway.cancelling import CancelledRequest, RunningRequest
from gateway.chat import ChatCompletions, ChatRequest
from gateway.completions import Completions
from gateway.embeddings import EmbeddingList, EmbeddingRequest, Embeddings
from gateway.rerank import Ranking, Rerank, RerankRequest
from gateway.schema import examples
from gateway.schema.operation import Operation

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
)
