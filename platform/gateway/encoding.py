"""What `/v1/embeddings` and `/v1/rerank` share: requests to models that read texts and write none."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from msgspec import Struct, structs

from accounts.authentication import Principal
from accounts.models import Scope
from gateway import runtime
from gateway.answers import Stamp
from gateway.context import RequestContext, of
from gateway.endpoint import MeteredEndpoint, refuse_ignored
from gateway.generation import running
from inference.engine.protocol import Embed, Embedded, Ranked, Rerank, Tally

R = TypeVar("R", Embedded, Ranked)

MOST_TEXTS = 2048
"""Inputs, or documents, of one request."""


class Usage(Struct):
    prompt_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a client wants to have read; see `gateway.ask.Asked`."""

    endpoint: str
    model: str
    prompt: Embed | Rerank
    """All but what only a running request has."""
    prompt_param: str
    stream: bool = False
    choices: int = 0
    tier: None = None

    def most_tokens(self) -> int:
        return 0

    def estimated_prompt_tokens(self) -> int:
        """Before the engine has counted: four characters a token, and some for the model's marks."""
        if isinstance(self.prompt, Embed):
            texts, more = self.prompt.inputs, 0
        else:
            texts, more = [*self.prompt.documents], len(self.prompt.query) // 4
        return sum(4 + more + (len(text) // 4 if isinstance(text, str) else len(text)) for text in texts)

    def of(self, *, record_id: str, principal: Principal) -> Embed | Rerank:
        return structs.replace(self.prompt, id=record_id, user=str(principal.user_id))


Wording = Callable[[Stamp, R, Usage], Awaitable[bytes]]
"""The body of the answer, made in pieces that let others run."""


class EncodingEndpoint(MeteredEndpoint, Generic[R]):
    methods = ("POST",)
    needs = Scope.EMBED

    @abstractmethod
    def parse(self, body: bytes, context: RequestContext) -> tuple[Reading, Wording[R]]:
        """What the body asks for, and how to word the answer. Raises ApiError; fills in `context.ignored`."""

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        reading, word = self.parse(body, context)
        refuse_ignored(context)
        async with running(runtime.current(), context, self.principal, reading) as run:
            async for step in run:
                if step.finished is not None:
                    # An engine answers what it was asked.
                    result = cast(R, run.result)
                    await self.answer(await word(run.stamp, result, usage_of(step.finished.tally)))


def usage_of(tally: Tally) -> Usage:
    return Usage(tally.prompt_tokens, tally.prompt_tokens)
