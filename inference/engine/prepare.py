"""From a client's message to sequences that can run: prompts become tokens, forms become grammars, and what can't be
done is refused before anything is computed."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import cast

from msgspec import structs

from inference.engine import protocol
from inference.engine.commons import NO_COMMONS, Commons
from inference.engine.guidance.errors import GrammarError
from inference.engine.guidance.grammars import MARKED, Grammar, Grammars
from inference.engine.guidance.guide import Guide, Thought
from inference.engine.media.decoder import Decoder
from inference.engine.model import LoadedModel
from inference.engine.monitors.repetition import RepetitionDetector
from inference.engine.sequence import Course, Request, Sequence
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.infill import encode_infill
from inference.engine.text.markup import JSON_CALLS, Markup, ToolFormat
from inference.engine.text.speech import PLAIN, Speech, State
from inference.engine.text.stops import StopMatcher
from inference.engine.text.template import PromptError, encode_text
from inference.engine.vision import prompt as vision
from inference.engine.vision.features import Seen
from inference.engine.vision.whole import Whole


@dataclass(slots=True)
class Refusal(Exception):
    """Why a request can't run, before anything was computed for it."""

    code: protocol.FailureCode
    message: str
    param: str | None = None


@dataclass(slots=True)
class Limits:
    """What the engine's options say about requests."""

    default_max_tokens: int | None = None
    """Of an answer, where neither request nor gateway name a number."""
    max_thinking_tokens: int | None = None
    """Of a thought, where the request names no number."""
    greedy: bool = False
    """Every request is greedy, whatever it asks for."""
    sampling: dict[str, float] = field(default_factory=dict)
    """The operator's defaults, which win over the model's own."""
    timeout: float | None = None
    """Seconds from arrival to the end."""
    loops: Callable[[], RepetitionDetector | None] = lambda: None
    """A repetition detector for a new request."""
    context: Callable[[int], int] = lambda length: length
    """The context that new requests get of the model's, in tokens: less while memory is short."""


@dataclass(slots=True)
class _Prompt:
    tokens: list[int]
    state: State = State.TEXT
    """What the answer begins with, as far as the prompt has decided that."""
    closed: bool = True
    """There will be no thought."""
    seen: Seen | Whole | None = None


def needs_time(request: protocol.Generate) -> bool:
    """Whether preparing it may take long enough to make others wait: pictures have to be decoded, grammars compiled."""
    return bool(request.media) or request.format is not None or _must_call(request)


def _must_call(request: protocol.Generate) -> bool:
    return bool(request.tools and request.tool_choice == "required")


def prepare(
    client: bytes,
    request: protocol.Generate,
    model: LoadedModel,
    limits: Limits | None = None,
    commons: Commons = NO_COMMONS,
) -> Request:
    """Everything but its place in the queue. Raises Refusal."""
    limits = limits or Limits()
    prepared = Request(request.id, client, n=request.n, held=request.held and bool(request.media))
    tools = _tools(request, model)
    form, grammar = _grammar(request, model, tools)
    sampling = _sampling(request, model, limits)
    for prompt in _prompts(request, model, tools):
        most = _most_tokens(request, model, limits, prompt.tokens)
        shared = commons.within(prompt.tokens)
        for _ in range(request.n):
            index = len(prepared.sequences)
            sequence = Sequence(
                request=prepared,
                index=index,
                prompt=prompt.tokens,
                # Every answer to a prompt is drawn anew; the first as if it were the only one.
                sampling=structs.replace(sampling, seed=(sampling.seed + index % request.n) % 2**32),
                max_tokens=most,
                speech=_speech(request, model, prompt, form, tools),
                guide=_guide(request, model, limits, prompt, grammar),
                echo=_text(model, prompt.tokens) if request.echo else "",
                scored=[] if request.echo and sampling.logprobs is not None else None,
                user=request.user,
                weight=request.weight,
                priority=request.priority,
                salt=request.salt,
                seen=prompt.seen,
                shared=shared,
                loops=limits.loops(),
                course=Course() if request.diagnostics else None,
            )
            if limits.timeout is not None:
                sequence.deadline = sequence.received + limits.timeout
            prepared.sequences.append(sequence)
    return prepared


def count(request: protocol.Generate, model: LoadedModel) -> int:
    """The tokens of its prompts, whether the context holds them or not. Raises Refusal."""
    return sum(len(prompt.tokens) for prompt in _prompts(request, model, _tools(request, model)))


# --- the prompt ------------------------------------------------------------------------------------------------------


def _tools(request: protocol.Generate, model: LoadedModel) -> list[dict[str, object]]:
    """What may be called."""
    tools = request.tools if request.messages is not None and request.tool_choice != "none" else []
    if tools and model.markup.tools is None:
        raise Refusal("invalid_prompt", "This model's chat template has no place for tools.", "tools")
    return tools


def _prompts(request: protocol.Generate, model: LoadedModel, tools: list[dict[str, object]]) -> list[_Prompt]:
    param = "messages" if request.messages is not None else "prompt"
    try:
        if request.messages is not None:
            prompts = [_chat_prompt(request.messages, request, model, tools)]
        else:
            prompts = [_plain_prompt(prompt, request.suffix, model) for prompt in request.prompts]
    except PromptError as error:
        raise Refusal("invalid_prompt", str(error), error.param or param) from error
    if not prompts or not all(prompt.tokens for prompt in prompts):
        raise Refusal("invalid_prompt", f"{param}: the prompt is empty.", param)
    return prompts


def _chat_prompt(
    messages: list[dict[str, object]],
    request: protocol.Generate,
    model: LoadedModel,
    tools: list[dict[str, object]],
) -> _Prompt:
    # Thinking is asked for, request by request, and is off unless it is.
    options = {"enable_thinking": False, **request.template}
    if tools:
        options["tools"] = tools
    seen = None
    if request.media:
        text, tokens, seen = _with_media(messages, request, model, options)
    else:
        text = model.render(messages, options)
        tokens = model.encode(text)
    thought = model.markup.thought
    if thought is None:
        return _Prompt(tokens, seen=seen)
    if text.rstrip().endswith(thought[0]):
        return _Prompt(tokens, State.THOUGHT, closed=False, seen=seen)
    closed = text.rstrip().endswith(thought[1]) or not options["enable_thinking"]
    return _Prompt(tokens, closed=closed, seen=seen)


def _with_media(
    messages: list[dict[str, object]], request: protocol.Generate, model: LoadedModel, options: dict[str, object]
) -> tuple[str, list[int], Seen | Whole]:
    if model.eye is None:
        raise Refusal("invalid_prompt", f"{model.name} sees no pictures; ask a model that does.", "messages")
    try:
        return vision.read(model.eye, decoder(), messages, request, options)
    except vision.Unreadable as unreadable:
        where, error = unreadable.where, unreadable.error
        code = cast(protocol.FailureCode, error.code)
        raise Refusal(code, f"`{where}`: {error.message}", where) from None


@cache
def decoder() -> Decoder:
    """The process's: what decodes has processes of its own."""
    return Decoder()


def _plain_prompt(prompt: str | list[int], suffix: str | None, model: LoadedModel) -> _Prompt:
    if isinstance(prompt, str) and suffix is not None:
        return _Prompt(encode_infill(model.tokenizer, prompt, suffix))
    if isinstance(prompt, str):
        return _Prompt(encode_text(model.tokenizer, prompt))
    stranger = next((token for token in prompt if not 0 <= token < model.vocab), None)
    if stranger is not None:
        raise Refusal("invalid_prompt", f"prompt: this model has no token {stranger}.", "prompt")
    return _Prompt(prompt)


def _text(model: LoadedModel, tokens: list[int]) -> str:
    return str(model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _most_tokens(request: protocol.Generate, model: LoadedModel, limits: Limits, prompt: list[int]) -> int:
    context = limits.context(model.context_length)
    room = context - len(prompt)
    wanted = request.max_tokens
    if room < 1 or (wanted is not None and wanted > room):
        answer = "" if wanted is None else f" and up to {wanted} of an answer"
        raise Refusal(
            "context_length_exceeded",
            f"This model's context holds {context} tokens"
            f"{' while memory is short' if context < model.context_length else ''}, "
            f"but the prompt has {len(prompt)}{answer}. Shorten the prompt"
            + ("." if wanted is None or room < 1 else " or lower max_tokens."),
            "messages" if request.messages is not None else "prompt",
        )
    return min(limits.default_max_tokens or request.default_max_tokens, room) if wanted is None else wanted


# --- the answer ------------------------------------------------------------------------------------------------------


def _sampling(request: protocol.Generate, model: LoadedModel, limits: Limits) -> protocol.Sampling:
    """What the request says; else the operator; else the model's publishers."""
    for token in request.sampling.logit_bias:
        if not 0 <= token < model.vocab:
            raise Refusal("invalid_prompt", f"logit_bias: this model has no token {token}.", "logit_bias")
    defaults = model.defaults | limits.sampling
    sampling = structs.replace(
        request.sampling, **{name: defaults[name] for name in request.omitted if name in defaults}
    )
    return structs.replace(sampling, temperature=0.0) if limits.greedy else sampling


def _grammar(
    request: protocol.Generate, model: LoadedModel, tools: list[dict[str, object]]
) -> tuple[ToolFormat | None, Grammar | None]:
    """How calls are written, and what the answer has to follow. Raises Refusal for what can't be compiled."""
    form = model.markup.tools if tools else None
    marked = form if form is not None and form.name in MARKED else None
    grammars = model.grammars
    ruled: list[dict[str, object]] = []
    """Tools whose schemas are parts of the grammar."""
    try:
        if tools and request.tool_choice == "required":
            ruled = [tool for tool in tools if request.tool_name in (None, _name(tool))]
            grammar = grammars.of_calls(marked, ruled, parallel=request.parallel_tool_calls and not request.tool_name)
            form = marked or JSON_CALLS
        elif request.format is not None:
            if marked is not None and request.format.kind in ("json_object", "json_schema"):
                ruled = tools
                grammar = grammars.of_calls_or(marked, tools, request.format, parallel=request.parallel_tool_calls)
            else:
                grammar = grammars.of_format(request.format)
        else:
            return form, None
        grammars.matcher(grammar)
    except GrammarError as error:
        raise _refusal(request, grammars, ruled, error) from error
    return form, grammar


def _refusal(
    request: protocol.Generate, grammars: Grammars, ruled: list[dict[str, object]], error: GrammarError
) -> Refusal:
    """Names the field that is to blame, where tools and a format make one grammar."""
    for tool in ruled:
        try:
            grammars.matcher(grammars.of_arguments(tool))
        except GrammarError as own:
            message = f"tools: the parameters of `{_name(tool)}` can't be followed: {own}."
            return Refusal("invalid_format", message, "tools")
    param = "tools" if request.format is None else "response_format"
    return Refusal("invalid_format", f"{param}: it can't be followed: {error}.", param)


def _name(tool: dict[str, object]) -> object:
    function = tool["function"]
    return function["name"] if isinstance(function, dict) else None


def _speech(
    request: protocol.Generate,
    model: LoadedModel,
    prompt: _Prompt,
    form: ToolFormat | None,
    tools: list[dict[str, object]],
) -> Speech:
    markup: Markup = PLAIN
    then = State.TEXT
    if request.messages is not None:
        markup = dataclasses.replace(model.markup, tools=form)
        then = State.CALL if form is JSON_CALLS else State.TEXT
    return Speech(
        Detokenizer(model.tokenizer, markup.specials),
        StopMatcher(request.stop),
        markup,
        state=prompt.state if prompt.state is State.THOUGHT else then if prompt.closed else State.TEXT,
        then=then,
        tools=json.loads(json.dumps(tools)) if form is not None else None,
    )


def _guide(
    request: protocol.Generate, model: LoadedModel, limits: Limits, prompt: _Prompt, grammar: Grammar | None
) -> Guide | None:
    budget = limits.max_thinking_tokens if request.max_thinking_tokens is None else request.max_thinking_tokens
    thinks = model.markup.thought is not None and not prompt.closed
    if grammar is None and not (thinks and budget is not None):
        return None
    return Guide(
        None if grammar is None else model.grammars.matcher(grammar),
        _thought(model, budget) if thinks else None,
        begun=prompt.state is State.THOUGHT,
        ends=model.end_tokens,
    )


def _thought(model: LoadedModel, budget: int | None) -> Thought:
    assert model.markup.thought is not None

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(encode_text(model.tokenizer, text, special=False))

    start, end = model.markup.thought
    return Thought(tokens(start), tokens(end), tokens(model.markup.closing), budget)
