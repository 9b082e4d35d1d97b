"""`POST /v1/completions`: OpenAI's plain completions, prompt and answer."""

from typing import Annotated, Any

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import errors, sse
from gateway.answers import Ending, Stamp, Usage, encode, explained, usage_of
from gateway.ask import VALIDATED_ONLY, Ask, GenerationFields, Neutral, TokenId
from gateway.assembled import Answer
from gateway.body import decode, refuse_unsupported, without_effect, without_effect_inside
from gateway.context import RequestContext
from gateway.endpoint import GenerationEndpoint, Parsed
from gateway.logprobs import CompletionLogprobs, completion_logprobs
from gateway.request_diagnostics import RequestDiagnostics
from inference.engine import protocol
from inference.engine.protocol import Delta, Ended, Finished
from inference.sampling import LARGEST

MOST_PROMPTS = 128
IDS = msgspec.json.schema(Annotated[list[TokenId], Meta(min_length=1)])
TEXTS_OR_IDS = Meta(
    extra_json_schema={"anyOf": [IDS, {"items": {"anyOf": [{"type": "string", "minLength": 1}, IDS]}, "minItems": 1}]}
)
"""For the schema alone: token ids, or several texts or lists of token ids. (A type can't be one of several lists.)"""


class CompletionRequest(GenerationFields, kw_only=True):
    prompt: str | Annotated[list[Any], TEXTS_OR_IDS]
    max_tokens: Annotated[int, Meta(ge=0, le=LARGEST)] | None = None
    """0: only the prompt is echoed, and its log-probabilities told."""
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


UNSUPPORTED: Neutral = {
    "best_of": (1,),
}
KNOWN = {*CompletionRequest.__struct_fields__, *UNSUPPORTED} - VALIDATED_ONLY

read_request = msgspec.json.Decoder(CompletionRequest)


class Completions(GenerationEndpoint):
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        usage_chunk = request.wants_usage_chunk()
        context.ignored = [*without_effect(fields, KNOWN), *without_effect_inside(fields, CompletionRequest)]
        wanted = prompts(request.prompt)
        if request.suffix and not all(isinstance(each, str) for each in wanted):
            raise errors.invalid("`suffix` needs prompts that are text.", param="suffix")
        if request.max_tokens == 0 and not request.echo:
            raise errors.invalid("`max_tokens` may be 0 only with `echo: true`.", param="max_tokens")
        ask = Ask(
            endpoint="completions",
            model=request.model,
            prompt=protocol.Generate(
                id="",
                prompts=wanted,
                suffix=request.suffix or None,
                n=request.n or 1,
                echo=bool(request.echo),
                sampling=request.sampling(logprobs=request.logprobs),
                omitted=request.omitted(),
                max_tokens=request.max_tokens,
                default_max_tokens=settings.DEFAULT_MAX_TOKENS,
                stop=request.stops(),
            ),
            prompt_param="prompt",
            stream=bool(request.stream),
            diagnostics=request.diagnostics(),
        )
        return ask, lambda stamp: CompletionAnswers(
            stamp, usage_chunk=usage_chunk, logprobs=request.logprobs is not None
        )


def prompts(prompt: str | list[Any]) -> list[str | list[int]]:
    """One or several, as text or as token ids."""
    match prompt:
        case str():
            return [prompt]
        case [str() | list(), *_]:
            if len(prompt) > MOST_PROMPTS:
                raise errors.invalid(f"`prompt`: at most {MOST_PROMPTS} prompts in one request.", param="prompt")
            return [_one(each, f"prompt[{at}]") for at, each in enumerate(prompt)]
        case tokens:
            return [token_ids(tokens, "prompt")]


def _one(prompt: Any, where: str) -> str | list[int]:
    match prompt:
        case str():
            return prompt
        case list():
            return token_ids(prompt, where)
    raise errors.invalid(f"`{where}` must be a string or a list of token ids.", param=where)


def token_ids(tokens: list[Any], where: str) -> list[int]:
    """`tokens` as they are. Raises ApiError where one can't be a token's id."""
    if not tokens:
        raise errors.invalid(f"`{where}`: the list is empty; send token ids.", param=where)
    for at, token in enumerate(tokens):
        if type(token) is not int or not 0 <= token <= LARGEST:
            raise errors.invalid(f"`{where}[{at}]` must be a token id.", param=f"{where}[{at}]")
    return tokens


class Choice(Ending, kw_only=True):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None


class Completion(Struct, kw_only=True):
    """A whole answer and a stream's chunk alike."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    system_fingerprint: str
    usage: Usage | UnsetType = UNSET
    diagnostics: RequestDiagnostics | UnsetType = UNSET


class CompletionAnswers:
    def __init__(self, stamp: Stamp, *, usage_chunk: bool, logprobs: bool) -> None:
        self._stamp = stamp
        self._usage_chunk = usage_chunk
        self._logprobs = logprobs
        self._said: dict[int, int] = {}
        """Characters that each answer's log-probabilities have been told of."""

    def whole(self, answers: list[Answer], end: Finished) -> bytes:
        choices = [
            explained(
                Choice(
                    index=index,
                    text=answer.text,
                    logprobs=completion_logprobs(answer.logprobs) if self._logprobs else None,
                    finish_reason=answer.reason,
                ),
                answer.end,
            )
            for index, answer in enumerate(answers)
        ]
        return encode(self._completion(choices, usage_of(end.tally), self._stamp.diagnose(end)))

    def opening(self) -> bytes:
        return b""

    def piece(self, delta: Delta) -> bytes:
        logprobs = None
        if self._logprobs:
            logprobs = completion_logprobs(delta.logprobs, self._said.get(delta.choice, 0))
            self._said[delta.choice] = self._said.get(delta.choice, 0) + sum(map(len, logprobs.tokens))
        elif not delta.text:
            return b""
        return sse.event(encode(self._completion([Choice(index=delta.choice, text=delta.text, logprobs=logprobs)])))

    def ended(self, end: Ended) -> bytes:
        choice = explained(Choice(index=end.choice, text="", finish_reason=end.reason), end)
        return sse.event(encode(self._completion([choice])))

    def closing(self, end: Finished) -> bytes:
        usage = usage_of(end.tally) if self._usage_chunk else UNSET
        diagnostics = self._stamp.diagnose(end)
        if usage is UNSET and diagnostics is UNSET:
            return sse.DONE
        return sse.event(encode(self._completion([], usage, diagnostics))) + sse.DONE

    def _completion(
        self,
        choices: list[Choice],
        usage: Usage | UnsetType = UNSET,
        diagnostics: RequestDiagnostics | UnsetType = UNSET,
    ) -> Completion:
        stamp = self._stamp
        return Completion(
            id=f"cmpl-{stamp.key}",
            created=stamp.created,
            model=stamp.model,
            system_fingerprint=stamp.system_fingerprint,
            choices=choices,
            usage=usage,
            diagnostics=diagnostics,
        )
