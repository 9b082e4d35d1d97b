"""The catalogue as Anthropic's clients read it."""

from datetime import UTC, datetime

from msgspec import Struct

from inference.registry import ServedModel

VERSION = b"anthropic-version"
"""The header by which their clients can be told."""


class ModelInfo(Struct, kw_only=True):
    type: str = "model"
    id: str
    display_name: str
    created_at: datetime
    lifecycle: str = "active"
    max_input_tokens: int | None
    """null until its engine was ready for the first time; so `max_tokens`."""
    max_tokens: int | None


class ModelPage(Struct, kw_only=True):
    """All of them: there is no second page."""

    data: list[ModelInfo]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


def page_of(models: list[ServedModel]) -> ModelPage:
    first, last = (models[0].name, models[-1].name) if models else (None, None)
    return ModelPage(data=[introduced(model) for model in models], first_id=first, last_id=last)


def introduced(model: ServedModel) -> ModelInfo:
    return ModelInfo(
        id=model.name,
        display_name=model.name,
        created_at=datetime.fromtimestamp(model.created, UTC),
        max_input_tokens=model.context_length,
        max_tokens=model.context_length,
    )
