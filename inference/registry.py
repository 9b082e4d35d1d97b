"""Which models are served, as the gateway sees it: a snapshot that events keep fresh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings

from accounts.events import subscribe
from accounts.snapshot import Snapshot
from inference.engine.options import OptionError, make
from inference.engine.protocol import SharedText
from inference.models import Deployment, Engine
from inference.services import ENGINES_CHANGED, endpoint_of

MAX_AGE_SECONDS = 5.0
"""How long a snapshot may serve when an event was lost."""
BY_KIND = {"vision": ("text", "image", "video"), "transcription": ("audio",)}
"""What is asked of models of a kind, until their engine says more; of others text."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    aliases: tuple[str, ...]
    source: str
    kind: str | None
    """None until it is known: where nobody said it, its engine tells it when it is ready for the first time."""
    created: int
    """Unix seconds."""
    endpoint: str
    state: str
    context_length: int | None
    """None until its engine was ready for the first time, as are the following."""
    batching: str | None
    batching_reason: str | None
    """None as well where there is nothing to explain."""
    timeout: float | None
    """Seconds that its own --timeout gives a request; None where it has none."""
    shared: tuple[SharedText, ...] = field(default=(), repr=False)
    """Beginnings of prompts that are everybody's."""
    told: tuple[str, ...] = ()
    """What its prompts may be made of, as its engine said: "text", "image", "video", "audio"; empty until then."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The same; by its kind, while its engine has not told."""
        return self.told or BY_KIND.get(self.kind or "", ("text",))

    def takes(self, modality: str) -> bool:
        """Whether its prompts may have it. Who is not known yet will say so himself."""
        known = self.told or self.kind not in (None, "vision")
        return not known or modality in self.modalities

    @property
    def failed(self) -> bool:
        """It could not be loaded the last time."""
        return self.state == Engine.State.FAILED


class Registry:
    """One per gateway process."""

    def __init__(self) -> None:
        read = database_sync_to_async(read_catalogue)
        self._snapshot: Snapshot[Catalogue] = Snapshot(read, max_age=MAX_AGE_SECONDS)

    async def models(self) -> list[ServedModel]:
        """All served models, the default one first. At most one query per MAX_AGE_SECONDS."""
        return (await self._snapshot.get()).models

    async def resolve(self, name: str) -> ServedModel | None:
        """The model of this name: its own; unless --strict-model-id also an alias, the path it was served from, or
        `default`."""
        return (await self._snapshot.get()).names.get(name)

    async def default(self) -> ServedModel | None:
        """The one that `default` names; None while nothing is served."""
        return next(iter(await self.models()), None)

    async def watch(self) -> None:
        """Runs as long as the gateway."""
        await self._snapshot.drop_at(subscribe(ENGINES_CHANGED))


@dataclass(frozen=True, slots=True)
class Catalogue:
    models: list[ServedModel]
    names: dict[str, ServedModel]


def read_catalogue() -> Catalogue:
    models = read_models()
    return Catalogue(models, names_of(models))


def read_models() -> list[ServedModel]:
    """Two queries."""
    return [
        ServedModel(
            name=deployment.model.name,
            aliases=tuple(deployment.model.aliases),
            source=deployment.model.source,
            kind=deployment.model.kind or (engine.kind if engine else "") or None,
            created=int(deployment.model.created_at.timestamp()),
            endpoint=endpoint_of(deployment),
            state=engine.state if engine else Engine.State.STARTING.value,
            context_length=engine.context_length if engine else None,
            batching=(engine.batching or None) if engine else None,
            batching_reason=(engine.batching_reason or None) if engine else None,
            timeout=own_timeout(deployment.model.engine_options),
            told=tuple(engine.modalities) if engine else (),
            shared=tuple(SharedText(each.text, each.is_pinned) for each in deployment.model.shared_prefixes.all()),
        )
        for deployment in Deployment.objects.select_related("model", "engine").prefetch_related(
            "model__shared_prefixes"
        )
        for engine in [getattr(deployment, "engine", None)]
    ]


def own_timeout(engine_options: Mapping[str, Any]) -> float | None:
    """None too for what makes no sense: no engine is started with it."""
    try:
        return make(engine_options).timeout
    except OptionError:
        return None


def names_of(models: list[ServedModel]) -> dict[str, ServedModel]:
    """Every name a request may use. A model's own name wins over another's alias, an earlier model over a later."""
    names: dict[str, ServedModel] = {}
    for model in models:
        names.setdefault(model.name, model)
    if settings.STRICT_MODEL_ID:
        return names
    for model in models:
        for alias in model.aliases:
            names.setdefault(alias, model)
    if models:
        names.setdefault("default", models[0])
    return names
