"""Answers in OpenAI's chat dialect: `chat.completion` and `chat.completion.chunk`."""

from msgspec import UNSET, Struct, UnsetType

from gateway import sse
from gateway.answers import Ending, Stamp, Usage, encode, ended, usage_of
from inference.engine.protocol import Finished, FinishReason


class Message(Struct, kw_only=True):
    role: str = "assistant"
    content: str
    refusal: None = None
    annotations: list[None] = []


class Choice(Ending, kw_only=True):
    index: int = 0
    message: Message
    logprobs: None = None
    finish_reason: FinishReason


class Completion(Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str


class Delta(Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChunkChoice(Ending, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Chunk(Struct, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET


class ChatAnswers:
    def __init__(self, stamp: Stamp, *, service_tier: str | None, usage_chunk: bool) -> None:
        self._id = f"chatcmpl-{stamp.key}"
        self._stamp = stamp
        self._tier: str | UnsetType = UNSET if service_tier is None else service_tier
        self._usage_chunk = usage_chunk
        # Of the many pieces of a stream only the content differs: one object serves them all.
        self._content = Delta(content="")
        self._piece = self._chunk([ChunkChoice(delta=self._content)])

    def whole(self, text: str, end: Finished) -> bytes:
        return encode(
            Completion(
                id=self._id,
                created=self._stamp.created,
                model=self._stamp.model,
                system_fingerprint=self._stamp.system_fingerprint,
                choices=[ended(Choice(message=Message(content=text), finish_reason=end.reason), end)],
                usage=usage_of(end.tally),
                service_tier=self._tier,
            )
        )

    def opening(self) -> bytes:
        return self._event([ChunkChoice(delta=Delta(role="assistant", content="", refusal=None))])

    def piece(self, text: str) -> bytes:
        self._content.content = text
        return sse.event(encode(self._piece))

    def closing(self, end: Finished) -> bytes:
        events = self._event([ended(ChunkChoice(delta=Delta(), finish_reason=end.reason), end)])
        if self._usage_chunk:
            events += self._event([], usage_of(end.tally))
        return events + sse.DONE

    def _event(self, choices: list[ChunkChoice], usage: Usage | UnsetType = UNSET) -> bytes:
        return sse.event(encode(self._chunk(choices, usage)))

    def _chunk(self, choices: list[ChunkChoice], usage: Usage | UnsetType = UNSET) -> Chunk:
        return Chunk(
            id=self._id,
            created=self._stamp.created,
            model=self._stamp.model,
            system_fingerprint=self._stamp.system_fingerprint,
            choices=choices,
            service_tier=self._tier,
            usage=usage,
        )
