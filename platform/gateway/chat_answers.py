"""Answers in OpenAI's chat dialect: `chat.completion` and `chat.completion.chunk`."""

from itertools import groupby
from operator import attrgetter

from msgspec import UNSET, Struct, UnsetType

from gateway import sse
from gateway.answers import Ending, Stamp, Usage, encode, explained, usage_of
from gateway.assembled import Answer, Call
from gateway.logprobs import ChatLogprobs, chat_logprobs
from gateway.request_diagnostics import RequestDiagnostics
from inference.engine import protocol
from inference.engine.protocol import CallDelta, Ended, Finished


class Function(Struct):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCall(Struct, kw_only=True):
    id: str
    type: str = "function"
    function: Function


class Message(Struct, kw_only=True):
    role: str = "assistant"
    content: str | None
    refusal: None = None
    annotations: list[None] = []
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET


class Choice(Ending, kw_only=True):
    index: int
    message: Message
    logprobs: ChatLogprobs | None = None
    finish_reason: str


class Completion(Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str
    diagnostics: RequestDiagnostics | UnsetType = UNSET


class ToolCallDelta(Struct, kw_only=True):
    index: int
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: Function


class Delta(Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET


class ChunkChoice(Ending, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None


class Chunk(Struct, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    diagnostics: RequestDiagnostics | UnsetType = UNSET


class ChatAnswers:
    """legacy_calls: calls go back as `function_call`."""

    def __init__(
        self,
        stamp: Stamp,
        *,
        choices: int,
        tells_tier: bool,
        usage_chunk: bool,
        logprobs: bool = False,
        legacy_calls: bool = False,
    ) -> None:
        self._id = f"chatcmpl-{stamp.key}"
        self._stamp = stamp
        self._choices = choices
        self._tier: str | UnsetType = stamp.tier if tells_tier else UNSET
        self._usage_chunk = usage_chunk
        self._logprobs = logprobs
        self._legacy = legacy_calls
        # Of the many pieces of a stream only the content differs: one object serves them all.
        self._content = Delta(content="")
        self._choice = ChunkChoice(delta=self._content)
        self._piece = self._chunk([self._choice])

    def whole(self, answers: list[Answer], end: Finished) -> bytes:
        return encode(
            Completion(
                id=self._id,
                created=self._stamp.created,
                model=self._stamp.model,
                system_fingerprint=self._stamp.system_fingerprint,
                choices=[
                    explained(
                        Choice(
                            index=index,
                            message=self._message(answer),
                            logprobs=chat_logprobs(answer.logprobs) if self._logprobs else None,
                            finish_reason=self._reason(answer.reason),
                        ),
                        answer.end,
                    )
                    for index, answer in enumerate(answers)
                ],
                usage=usage_of(end.tally),
                service_tier=self._tier,
                diagnostics=self._stamp.diagnose(end),
            )
        )

    def opening(self) -> bytes:
        return b"".join(
            self._event([ChunkChoice(index=index, delta=Delta(role="assistant", content="", refusal=None))])
            for index in range(self._choices)
        )

    def piece(self, delta: protocol.Delta) -> bytes:
        if not (delta.reasoning or delta.calls or delta.logprobs):
            self._content.content = delta.text
            self._choice.index = delta.choice
            return sse.event(encode(self._piece)) if delta.text else b""
        said = Delta(
            reasoning_content=delta.reasoning or UNSET, reasoning=delta.reasoning or UNSET, content=delta.text or UNSET
        )
        if delta.calls and self._legacy:
            first = next((call.name for call in delta.calls if call.name), None)
            said.function_call = Function(first or UNSET, "".join(call.arguments for call in delta.calls))
        calls = [] if self._legacy else _deltas_of(delta.calls)
        said.tool_calls = calls[:1] or UNSET
        logprobs = chat_logprobs(delta.logprobs) if self._logprobs else None
        choices = [ChunkChoice(index=delta.choice, delta=said, logprobs=logprobs)]
        choices += [ChunkChoice(index=delta.choice, delta=Delta(tool_calls=[call])) for call in calls[1:]]
        return b"".join(self._event([choice]) for choice in choices)

    def ended(self, end: Ended) -> bytes:
        choice = ChunkChoice(index=end.choice, delta=Delta(), finish_reason=self._reason(end.reason))
        return self._event([explained(choice, end)])

    def closing(self, end: Finished) -> bytes:
        usage = usage_of(end.tally) if self._usage_chunk else UNSET
        diagnostics = self._stamp.diagnose(end)
        if usage is UNSET and diagnostics is UNSET:
            return sse.DONE
        chunk = self._chunk([], usage)
        chunk.diagnostics = diagnostics
        return sse.event(encode(chunk)) + sse.DONE

    def _reason(self, reason: str) -> str:
        return "function_call" if self._legacy and reason == "tool_calls" else reason

    def _message(self, answer: Answer) -> Message:
        message = Message(content=answer.text if answer.text or not answer.calls else None)
        if answer.reasoning:
            message.reasoning_content = message.reasoning = answer.reasoning
        if answer.calls and self._legacy:
            message.function_call = Function(answer.calls[0].name, answer.calls[0].arguments)
        elif answer.calls:
            message.tool_calls = [_call_of(call) for call in answer.calls]
        return message

    def _event(self, choices: list[ChunkChoice]) -> bytes:
        return sse.event(encode(self._chunk(choices)))

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


def _call_of(call: Call) -> ToolCall:
    return ToolCall(id=call.id, function=Function(call.name, call.arguments))


def _deltas_of(calls: list[CallDelta]) -> list[ToolCallDelta]:
    """One for each call, with all that has come of it. Each gets a chunk of its own, as OpenAI's do: there are clients
    that look at the first of a chunk's calls only."""
    deltas = []
    for index, same in groupby(calls, key=attrgetter("index")):
        first, *rest = same
        arguments = "".join([first.arguments, *(piece.arguments for piece in rest)])
        if first.name is None:
            deltas.append(ToolCallDelta(index=index, function=Function(arguments=arguments)))
        else:
            function = Function(first.name, arguments)
            deltas.append(ToolCallDelta(index=index, id=first.id or "", type="function", function=function))
    return deltas
