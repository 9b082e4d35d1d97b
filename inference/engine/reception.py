"""What intake asks of a model, whatever its kind: what becomes of a request before the step thread sees it."""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Protocol

from inference.engine import protocol
from inference.engine.encoder.job import Job
from inference.engine.kinds import mismatch
from inference.engine.model import LoadedModel
from inference.engine.prepare import Limits, count, needs_time, prepare
from inference.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Prepared:
    prompt_tokens: int
    work: Several[Sequence | Job]


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


class TextReception:
    def __init__(self, model: LoadedModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits

    def needs_time(self, request: protocol.Request) -> bool:
        return isinstance(request, protocol.Generate) and needs_time(request)

    def prepare(self, client: bytes, request: protocol.Request) -> Prepared:
        if not isinstance(request, protocol.Generate):
            raise mismatch(self._model.name, "text", request)
        prepared = prepare(client, request, self._model, self._limits)
        return Prepared(prepared.prompt_tokens, prepared.sequences)

    def count(self, request: protocol.Generate) -> int:
        return count(request, self._model)
