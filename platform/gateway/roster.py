"""How far generations have come, on this gateway and on the others. The ledger knows which ones run, and where; only
the gateway that works on one knows this. It is asked for, and told, as events: nobody pays for what nobody looks at."""

import asyncio
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress

import msgspec

from accounts.events import publish, subscribe
from gateway.context import RequestContext

ASKED = "requests.asked"
TOLD = "requests.told"


class Progress(msgspec.Struct):
    """Of one generation. id: as in the ledger."""

    id: str
    state: str
    """"queued", "prefilling" or "decoding"."""
    prompt_tokens: int
    """As the engine counted them; 0 until then."""
    completion_tokens: int
    priority: str
    """"interactive", "api" or "batch"; empty until it was sent, and for what has none."""


class Answer(msgspec.Struct):
    question: str
    gateway: str
    progress: list[Progress]


class Roster:
    """Belongs to one event loop."""

    def __init__(self, name: str, generations: Callable[[], list[RequestContext]]) -> None:
        self._name = name
        self._generations = generations
        self._questions: dict[str, asyncio.Queue[Answer]] = {}

    def own(self) -> list[Progress]:
        return [
            Progress(each.record_id, each.state, each.prompt_tokens, each.completion_tokens, each.priority)
            for each in self._generations()
        ]

    async def of(self, gateways: Collection[str], *, patience: float) -> tuple[dict[str, Progress], set[str]]:
        """What these gateways work on, by id; and those of them that do not answer within `patience` seconds."""
        found = {each.id: each for each in self.own()}
        waiting = set(gateways) - {self._name}
        if not waiting:
            return found, waiting
        question = uuid.uuid4().hex
        answers = self._questions[question] = asyncio.Queue()
        try:
            await asyncio.to_thread(publish, ASKED, question=question)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while waiting:
                        answer = await answers.get()
                        waiting.discard(answer.gateway)
                        found.update((each.id, each) for each in answer.progress)
        finally:
            del self._questions[question]
        return found, waiting

    async def watch(self) -> None:
        """Answers what other gateways ask, and hears their answers; runs as long as the gateway."""
        async for event in subscribe(ASKED, TOLD):
            match event.topic, event.payload:
                case "requests.asked", {"question": str(question)} if question not in self._questions:
                    answer = Answer(question, self._name, self.own())
                    await asyncio.to_thread(publish, TOLD, **msgspec.to_builtins(answer))
                case "requests.told", {"question": str(question)} if question in self._questions:
                    with suppress(msgspec.ValidationError):  # of another version of us
                        self._questions[question].put_nowait(msgspec.convert(event.payload, Answer))
