"""Which consumer answers which path under `/v1` and `/health`."""

from channels.routing import URLRouter
from django.urls import path, re_path

from gateway import errors
from gateway.anthropic.endpoint import CountTokens, Messages
from gateway.anthropic.errors import speak as speak_anthropic
from gateway.audio.speech import Speech
from gateway.audio.transcriptions import Transcriptions, Translations
from gateway.audio.voices import Voices
from gateway.batches.endpoint import Batches, CancelBatch, OneBatch
from gateway.cancelling import RunningRequest
from gateway.capabilities import Capabilities
from gateway.catalogue import ModelDetail, Models
from gateway.chat import ChatCompletions
from gateway.completions import Completions
from gateway.diagnostics import Diagnostics
from gateway.embeddings import Embeddings
from gateway.endpoint import Endpoint
from gateway.files.endpoint import FileContent, Files, OneFile
from gateway.guard import Guard
from gateway.health import Health, Ready
from gateway.key import OwnKey
from gateway.organization import CompletionsUsage
from gateway.rerank import Rerank
from gateway.responses.endpoint import CancelResponse, InputItems, Responses, StoredResponses
from gateway.usage import OwnUsage


class Unknown(Endpoint):
    async def admit(self) -> None:
        raise errors.unknown_path(self.scope["path"])


application = Guard(
    URLRouter(
        [
            path("v1/audio/speech", Speech.as_asgi()),
            path("v1/audio/transcriptions", Transcriptions.as_asgi()),
            path("v1/audio/translations", Translations.as_asgi()),
            path("v1/audio/voices", Voices.as_asgi()),
            path("v1/batches", Batches.as_asgi()),
            re_path(r"^v1/batches/(?P<id>[^/]+)\Z", OneBatch.as_asgi()),
            re_path(r"^v1/batches/(?P<id>[^/]+)/cancel\Z", CancelBatch.as_asgi()),
            path("v1/capabilities", Capabilities.as_asgi()),
            path("v1/chat/completions", ChatCompletions.as_asgi()),
            path("v1/completions", Completions.as_asgi()),
            path("v1/embeddings", Embeddings.as_asgi()),
            path("v1/files", Files.as_asgi()),
            re_path(r"^v1/files/(?P<id>[^/]+)\Z", OneFile.as_asgi()),
            re_path(r"^v1/files/(?P<id>[^/]+)/content\Z", FileContent.as_asgi()),
            path("v1/key", OwnKey.as_asgi()),
            path("v1/messages", Messages.as_asgi()),
            path("v1/messages/count_tokens", CountTokens.as_asgi()),
            path("v1/models", Models.as_asgi()),
            # The server has decoded the path: ids with slashes come both as they are and percent-encoded.
            re_path(r"^v1/models/(?P<model>(?s:.+))\Z", ModelDetail.as_asgi()),
            path("v1/organization/usage/completions", CompletionsUsage.as_asgi()),
            re_path(r"^v1/requests/(?P<id>[^/]+)\Z", RunningRequest.as_asgi()),
            path("v1/rerank", Rerank.as_asgi()),
            path("v1/responses", Responses.as_asgi()),
            re_path(r"^v1/responses/(?P<id>[^/]+)\Z", StoredResponses.as_asgi()),
            re_path(r"^v1/responses/(?P<id>[^/]+)/input_items\Z", InputItems.as_asgi()),
            re_path(r"^v1/responses/(?P<id>[^/]+)/cancel\Z", CancelResponse.as_asgi()),
            path("v1/usage", OwnUsage.as_asgi()),
            path("health", Health.as_asgi()),
            path("health/diagnostics", Diagnostics.as_asgi()),
            path("health/ready", Ready.as_asgi()),
            re_path(r"", Unknown.as_asgi()),
        ]
    ),
    dialects={"/v1/messages": speak_anthropic},
)
