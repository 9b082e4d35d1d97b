"""`GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's shape, and in Anthropic's for their clients."""

from django.conf import settings
from msgspec import Struct

from gateway import runtime
from gateway.access import model_for, models_of
from gateway.answers import encode
from gateway.anthropic.models import VERSION, ModelInfo, ModelPage, introduced, page_of
from gateway.endpoint import KeyedEndpoint
from inference.registry import ServedModel


class ModelObject(Struct, kw_only=True):
    """OpenAI's fields, then ours."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "atelier"
    state: str
    context_length: int | None
    """null until its engine was ready for the first time."""
    modalities: list[str]
    kind: str | None
    """"text", "vision", "embedding", "reranker", "transcription" or "speech"; null until its engine was ready for the
    first time."""
    batching: str | None
    """"batched", "padded" or "single", as protocol.Ready has it; null until its engine was ready for the first time."""
    batching_reason: str | None
    """Why not "batched", in words."""
    aliases: list[str]
    """Other names that requests may use: none under --strict-model-id."""


class ModelList(Struct, kw_only=True):
    object: str = "list"
    data: list[ModelObject]


class CatalogueEndpoint(KeyedEndpoint):
    @property
    def is_for_anthropic(self) -> bool:
        return any(name == VERSION for name, _ in self.scope["headers"])


class Models(CatalogueEndpoint):
    async def handle(self, body: bytes) -> None:
        served = await models_of(runtime.current(), self.principal)
        listed: ModelList | ModelPage = (
            page_of(served) if self.is_for_anthropic else ModelList(data=[described(model) for model in served])
        )
        await self.answer(encode(listed))


class ModelDetail(CatalogueEndpoint):
    async def handle(self, body: bytes) -> None:
        name: str = self.scope["url_route"]["kwargs"]["model"]
        model = await model_for(runtime.current(), self.principal, name)
        shown: ModelObject | ModelInfo = introduced(model) if self.is_for_anthropic else described(model)
        await self.answer(encode(shown))


def described(model: ServedModel) -> ModelObject:
    return ModelObject(
        id=model.name,
        created=model.created,
        state=model.state,
        context_length=model.context_length,
        modalities=list(model.modalities),
        kind=model.kind,
        batching=model.batching,
        batching_reason=model.batching_reason,
        aliases=[] if settings.STRICT_MODEL_ID else list(model.aliases),
    )
