"""`GET /v1/models` and `GET /v1/models/{id}`."""

from django.conf import settings
from msgspec import Struct

from gateway import errors, runtime
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint
from inference.registry import ServedModel

MODALITIES = {"text": ["text"], "vision": ["text", "image"]}


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
    """"text", "vision", "embedding" or "reranker"; null until its engine was ready for the first time."""
    batching: str | None
    """"batched", "padded" or "single", as protocol.Ready has it; null until its engine was ready for the first time."""
    batching_reason: str | None
    """Why not "batched", in words."""
    aliases: list[str]
    """Other names that requests may use: none under --strict-model-id."""


class ModelList(Struct, kw_only=True):
    object: str = "list"
    data: list[ModelObject]


class Models(KeyedEndpoint):
    async def handle(self, body: bytes) -> None:
        served = await runtime.current().registry.models()
        await self.answer(encode(ModelList(data=[described(model) for model in served])))


class ModelDetail(KeyedEndpoint):
    async def handle(self, body: bytes) -> None:
        name: str = self.scope["url_route"]["kwargs"]["model"]
        model = await runtime.current().registry.resolve(name)
        if model is None:
            raise errors.model_not_found(name)
        await self.answer(encode(described(model)))


def described(model: ServedModel) -> ModelObject:
    return ModelObject(
        id=model.name,
        created=model.created,
        state=model.state,
        context_length=model.context_length,
        modalities=MODALITIES.get(model.kind or "text", ["text"]),
        kind=model.kind,
        batching=model.batching,
        batching_reason=model.batching_reason,
        aliases=[] if settings.STRICT_MODEL_ID else list(model.aliases),
    )
