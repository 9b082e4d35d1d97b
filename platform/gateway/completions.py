"""`POST /v1/completions`: OpenAI's plain completions, prompt and answer."""

from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET, Struct, UnsetType

from gateway import errors, sse
from gateway.answers import Ending, Stamp, Usage, encode, ended, usage_of
from gateway.ask import LARGEST, NOT_YET, VALIDATED_ONLY, Ask, GenerationFields, Neutral
from gateway.body import decode, refuse_unsupported, without_effect
from gateway.context import RequestContext
from gateway.endpoint import GenerationEndpoint, Parsed
from inference.engine import protocol
from inference.engine.protocol import Finished, FinishReason


class CompletionRequest(GenerationFields, kw_only=True):
    prompt: str | list[Any]


UNSUPPORTED: Neutral = {
    **NOT_YET,
    "best_of": (1,),
    "logprobs": (),
    "suffix": ("",),
}
KNOWN = {*CompletionRequest.__struct_fields__, *UNSUPPORTED} - VALIDATED_ONLY

read_request = msgspec.json.Decoder(CompletionRequest)


class Completions(GenerationEndpoint):
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        usage_chunk = request.wants_usage_chunk()
        context.ignored = without_effect(fields, KNOWN)
        text, tokens = one_prompt(request.prompt)
        ask = Ask(
            endpoint="completions",
            model=request.model,
            prompt=protocol.Generate(
                id="",
                text=text,
                tokens=tokens,
                sampling=request.sampling(),
                omitted=request.omitted(),
                max_tokens=request.max_tokens,
                default_max_tokens=settings.DEFAULT_MAX_TOKENS,
                stop=request.stops(),
            ),
            prompt_param="prompt",
            stream=bool(request.stream),
        )
        return ask, lambda stamp: CompletionAnswers(stamp, usage_chunk=usage_chunk)


def one_prompt(prompt: str | list[Any]) -> tuple[str | None, list[int] | None]:
    """(text, None) or (None, token ids)."""
    match prompt:
        case str():
            return prompt, None
        case [str() as text]:
            return text, None
        case [list() as tokens]:
            return None, token_ids(tokens, "prompt[0]")
        case [str() | list(), *_]:
            raise errors.not_supported("prompt", "send several prompts as several requests")
        case tokens:
            return None, token_ids(tokens, "prompt")


def token_ids(tokens: list[Any], where: str) -> list[int]:
    """`tokens` as they are. Raises ApiError where one can't be a token's id."""
    if not tokens:
        raise errors.invalid(f"`{where}`: the list is empty; send token ids.", param=where)
    for at, token in enumerate(tokens):
        if type(token) is not int or not 0 <= token <= LARGEST:
            raise errors.invalid(f"`{where}[{at}]` must be a token id.", param=f"{where}[{at}]")
    return tokens


class Choice(Ending, kw_only=True):
    index: int = 0
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Completion(Struct, kw_only=True):
    """A whole answer and a stream's chunk alike."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    system_fingerprint: str
    usage: Usage | UnsetType = UNSET


class CompletionAnswers:
    def __init__(self, stamp: Stamp, *, usage_chunk: bool) -> None:
        self._stamp = stamp
        self._usage_chunk = usage_chunk

    def whole(self, text: str, end: Finished) -> bytes:
        choice = ended(Choice(text=text, finish_reason=end.reason), end)
        return encode(self._completion([choice], usage_of(end.tally)))

    def opening(self) -> bytes:
        return b""

    def piece(self, text: str) -> bytes:
        return sse.event(encode(self._completion([Choice(text=text)])))

    def closing(self, end: Finished) -> bytes:
        choice = ended(Choice(text="", finish_reason=end.reason), end)
        events = sse.event(encode(self._completion([choice])))
        if self._usage_chunk:
            events += sse.event(encode(self._completion([], usage_of(end.tally))))
        return events + sse.DONE

    def _completion(self, choices: list[Choice], usage: Usage | UnsetType = UNSET) -> Completion:
        stamp = self._stamp
        return Completion(
            id=f"cmpl-{stamp.key}",
            created=stamp.created,
            model=stamp.model,
            system_fingerprint=stamp.system_fingerprint,
            choices=choices,
            usage=usage,
        )
