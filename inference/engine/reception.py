"""What intake asks of a model, whatever its kind: what becomes of a request before the step thread sees it."""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Protocol

from inference.engine import protocol
from inference.engine.asked import Asked
from inference.engine.commons import NO_COMMONS, Commons
from inference.engine.kinds import mismatch
from inference.engine.model import LoadedModel
from inference.engine.prepare import Limits, count, needs_time, prepare


@dataclass(frozen=True, slots=True)
class Prepared:
    prompt_tokens: int
    work: Several[Asked]


class Reception(Protocol):
    def needs_time(self, request: protocol.Request) -> bool:
        """Whether preparing it may take long enough to make others wait."""
        ...

    def prepare(self, client: bytes, request: protocol.Request) -> Prepared:
        """Called by several threads. Raises Refusal."""
        ...

    def count(self, request: protocol.Generate) -> int:
        """Tokens of its prompt. Raises Refusal."""
        ...

    def share(self, client: bytes, texts: Several[protocol.SharedText]) -> list[tuple[int, ...]]:
        """Requests of this client that begin with one of these share that, and no other text, with everybody's. Those
        that are to be kept in the cache, as tokens."""
        ...


class TextReception:
    def __init__(self, model: LoadedModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._commons: dict[bytes, Commons] = {}
        """By client: each goes by what it was told itself."""

    def needs_time(self, request: protocol.Request) -> bool:
        return isinstance(request, protocol.Generate) and needs_time(request)

    def prepare(self, client: bytes, request: protocol.Request) -> Prepared:
        if not isinstance(request, protocol.Generate):
            raise mismatch(self._model.name, "text", request)
        commons = self._commons.get(client, NO_COMMONS)
        prepared = prepare(client, request, self._model, self._limits, commons)
        return Prepared(prepared.prompt_tokens, prepared.sequences)

    def count(self, request: protocol.Generate) -> int:
        return count(request, self._model)

    def share(self, client: bytes, texts: Several[protocol.SharedText]) -> list[tuple[int, ...]]:
        commons = self._commons[client] = Commons.of(texts, self._model)
        return list(commons.kept)
