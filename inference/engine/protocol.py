"""What a gateway and an engine process say to each other: msgspec structs as msgpack over ZeroMQ.

An engine binds two ROUTER sockets, `intake` and `output`; a client connects a DEALER to each under one identity.
On `intake` a client sends one request struct per message; on `output` the engine answers with lists of events,
one list per client and flush, in the order in which they happened. A request's events are

    Accepted, FirstToken, (Delta | Ended)*, then exactly one of Finished | Failed     (or Failed alone)

with one Ended for each answer before a Finished. Those of an Embed or Rerank are

    Accepted, Embedded | Ranked, Finished                                             (or Failed for what is left)
"""

from typing import Any, Literal

import msgspec

ModelKind = Literal["text", "vision", "embedding", "reranker"]


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one row draws its tokens. The defaults are greedy and change nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means all tokens."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    """32 bits; a request without a seed gets a random one from the gateway."""
    logit_bias: dict[int, float] = {}
    """Added to the token's logit; -100 and below bans it, 100 and above leaves nothing else."""
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    logprobs: int | None = None
    """None: none. n >= 0: the chosen token's, and the n likeliest tokens', at most 20."""


# --- client -> engine ----------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, tag=True):
    """A client that wants `Ready` now and `Stats` from now on."""


class Format(msgspec.Struct, frozen=True, omit_defaults=True):
    """The form that an answer must have."""

    kind: Literal["json_object", "json_schema", "regex", "grammar"]
    text: str = ""
    """The schema as JSON, the regular expression, or the grammar in llguidance's dialect of Lark."""


class Media(msgspec.Struct):
    """A file as its client sent it."""

    data: bytes


class Generate(msgspec.Struct, tag=True, omit_defaults=True):
    """One request: a conversation or plain prompts, and what is to be done with them."""

    id: str
    messages: list[dict[str, Any]] | None = None
    """A conversation for the model's chat template."""
    media: list[Media] = []
    """What the parts `{"type": "image"}` of the conversation's messages stand for, in their order."""
    prompts: list[str | list[int]] = []
    """Plain prompts, as text or as token ids; each gets answers of its own."""
    n: int = 1
    """Answers to each prompt. Those to the first have the numbers 0 to n - 1, and so on."""
    echo: bool = False
    """An answer begins with its plain prompt, and its log-probabilities with those of that."""
    suffix: str | None = None
    """What follows the answer to a plain prompt."""
    template: dict[str, Any] = {}
    """Extra arguments of the chat template, such as `enable_thinking`."""
    tools: list[dict[str, Any]] = []
    """What a conversation's answer may call, as OpenAI writes it."""
    tool_choice: Literal["none", "auto", "required"] = "auto"
    tool_name: str | None = None
    """The only tool that may be called, where one is required."""
    parallel_tool_calls: bool = True
    format: Format | None = None
    max_thinking_tokens: int | None = None
    """After so many the thought is closed, and the answer begins."""
    sampling: Sampling = Sampling()
    omitted: list[str] = []
    """Fields of `sampling` that the client left out: where the model has defaults of its own, they take the place."""
    max_tokens: int | None = None
    """None: what the context leaves, at most `default_max_tokens`."""
    default_max_tokens: int = 32768
    stop: list[str] = []
    user: str = ""
    """The account that it is for: the scheduler is fair between accounts."""
    weight: float = 1.0
    """The account's share against others'; above 0."""
    priority: Literal["interactive", "api", "batch"] = "api"
    salt: str = ""
    """Only requests of the same salt share cached prefixes: its team's."""
    diagnostics: bool = False
    """Its end is to tell how it was worked on."""
    instance: str = ""
    """The engine process that this was meant for. A message that waited in a socket while an engine was restarted
    reaches its successor, long after the request was answered with an error."""


class Embed(msgspec.Struct, tag=True, omit_defaults=True):
    """One vector for each input, from an embedding model."""

    id: str
    inputs: list[str | list[int]]
    """As text or as token ids, which are taken as they are."""
    dimensions: int | None = None
    """Only the first so many of each vector, brought back to length 1."""
    user: str = ""
    """As in Generate, as is `instance`."""
    instance: str = ""


class Rerank(msgspec.Struct, tag=True, omit_defaults=True):
    """How well each document answers the query, from a reranker."""

    id: str
    query: str
    documents: list[str]
    user: str = ""
    """As in Generate, as is `instance`."""
    instance: str = ""


Request = Generate | Embed | Rerank


class Cancel(msgspec.Struct, tag=True):
    """Stop this request. Its answer is `Finished` with reason `cancelled`, unless it had ended already."""

    id: str


class Count(msgspec.Struct, tag=True):
    """How long is the prompt of this request? It is not run. The answer is one event, Counted or Failed."""

    request: Generate


class Reconcile(msgspec.Struct, tag=True):
    """A restarted client asks how the requests of its former life ended; those still running are cancelled."""

    ids: list[str]


# --- engine -> client ----------------------------------------------------------------------------------------------


class Traits(msgspec.Struct, frozen=True):
    """What a model's files say of it; None where they say nothing."""

    model_type: str | None = None
    """Its family, such as "qwen3"."""
    architecture: str | None = None
    """The class that it was made with, such as "Qwen3ForCausalLM"."""
    positions: int | None = None
    """The longest context that it is configured for."""
    tools: str | None = None
    """How it writes calls of tools: the parser's name."""
    reasoning: str | None = None
    """How it marks its thoughts: the parser's name."""


class Ready(msgspec.Struct, tag=True):
    """The engine serves. `instance` is new with every process, so that a client notices a restart."""

    instance: str
    model: str
    context_length: int
    pid: int
    has_chat_template: bool
    batching: str = "batched"
    """How it runs: "batched", "padded" (long rows slow short ones down) or "single" (one request at a time)."""
    batching_reason: str = ""
    kind: ModelKind = "text"
    traits: Traits = Traits()
    options: dict[str, Any] = {}
    """What it runs with, as far as that is not the default: see `inference.engine.options`."""


class Accepted(msgspec.Struct, tag=True):
    """The prompt is tokenised and queued; `prompt_tokens` is its true length."""

    id: str
    prompt_tokens: int


class FirstToken(msgspec.Struct, tag=True):
    """The prompt is prefilled and its first token drawn."""

    id: str
    queue_ms: float
    """From the engine's receipt to the first step that worked on it."""
    engine_ms: float
    """From the engine's receipt to the first token."""
    cached_tokens: int = 0
    """Of the prompt, as the tally will have them."""


class TopLogprob(msgspec.Struct, array_like=True):
    raw: bytes
    """The token's bytes: of UTF-8 text, or of a part of a character."""
    logprob: float


class TokenLogprob(msgspec.Struct, array_like=True):
    """One token, its natural logarithm of probability, and the likeliest tokens in its place, likeliest first."""

    raw: bytes
    logprob: float | None
    """None: nothing comes before a prompt's first token."""
    top: list[TopLogprob] = []


class CallDelta(msgspec.Struct, array_like=True):
    """More of a tool call: the first of each has id and name, the others more of its arguments, which are JSON."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class Delta(msgspec.Struct, tag=True, omit_defaults=True):
    """More of an answer. `tokens` counts what was generated since the last delta, text held back included."""

    id: str
    text: str = ""
    tokens: int = 0
    choice: int = 0
    reasoning: str = ""
    calls: list[CallDelta] = []
    logprobs: list[TokenLogprob] = []


FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class Ended(msgspec.Struct, tag=True, omit_defaults=True):
    """One of a request's answers is complete."""

    id: str
    choice: int
    reason: FinishReason
    stop_sequence: str | None = None
    repetition: str | None = None
    """Why the repetition detector ended it: "single_token_run" or "pattern_loop_len_N"."""


class Tally(msgspec.Struct):
    """What a request used, true to the token."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of the completion's tokens that were thoughts."""
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    engine_seconds: float = 0.0
    """Its share of each step's time, by tokens processed; over all requests they add up to the steps' time."""


class Divergence(msgspec.Struct, frozen=True):
    """A prompt's token `token`, of `tokens`, was the first that differed from what was cached; at least `lost` cached
    tokens followed there and were of no use."""

    token: int
    tokens: int
    lost: int


class Diagnosis(msgspec.Struct, frozen=True):
    """How the engine worked on a request."""

    context_tokens: int
    """Of prompt and answer together, the longest of them."""
    rows: float
    """That decoded together with it in a step, itself included, on average; 0 where it never decoded."""
    most_rows: int
    preemptions: int
    divergence: Divergence | None = None
    """Of its first prompt."""


class Finished(msgspec.Struct, tag=True):
    """All answers are complete, or the request was cancelled. reason: the first answer's."""

    id: str
    reason: FinishReason
    tally: Tally
    diagnosis: Diagnosis | None = None
    """Where it was asked for."""


class Embedded(msgspec.Struct, tag=True):
    """The vectors that an Embed asked for, in the order of its inputs."""

    id: str
    width: int
    """Numbers in each vector."""
    vectors: bytes
    """float32, little-endian, one vector behind the other."""
    tokens: list[int]
    """Of each input."""


class Ranked(msgspec.Struct, tag=True):
    """The scores that a Rerank asked for, in the order of its documents: 0 to 1, more is better."""

    id: str
    scores: list[float]
    tokens: list[int]
    """Of query and document together, for each."""


FailureCode = Literal[
    "unsupported_model", "invalid_prompt", "invalid_format", "context_length_exceeded", "server_is_overloaded",
    "timeout", "engine_error",
]  # fmt: skip


class Failed(msgspec.Struct, tag=True):
    """The request ended without an answer, or in the middle of one. `message` is meant for its user."""

    id: str
    code: FailureCode
    message: str
    param: str | None = None
    tally: Tally = msgspec.field(default_factory=Tally)
    retry_after: float | None = None
    """Seconds after which it may be tried again with some hope, where the engine can tell."""


class Counted(msgspec.Struct, tag=True):
    """The answer to a `Count`."""

    id: str
    prompt_tokens: int


class Reconciled(msgspec.Struct, tag=True):
    """The tallies of those requests of a `Reconcile` that this engine remembers."""

    tallies: dict[str, Tally]


class Stats(msgspec.Struct, tag=True):
    """The heartbeat, every half second. An engine with `running + waiting > 0` whose `steps` stand still is wedged."""

    steps: int
    running: int
    waiting: int
    prefill_tokens: int = 0
    """Computed since the start, as are the following."""
    cached_tokens: int = 0
    """Of prompts, taken from the prefix cache instead."""
    generated_tokens: int = 0
    charged_prompt_tokens: int = 0
    """Of requests that have ended, as their tallies say; so the next."""
    charged_completion_tokens: int = 0
    preemptions: int = 0
    busy_seconds: float = 0.0
    requests: int = 0
    memory_bytes: int = 0
    """MLX's active memory: weights and caches."""
    peak_memory_bytes: int = 0
    kv_bytes: int = 0
    """Of the slots that rows live in."""
    pool_bytes: int = 0
    """Of the prefix cache's pool, used or not."""
    cache: dict[str, int] = {}
    """The prefix cache's counters, by the names of `inference.engine.prefix.records.Counters`."""
    tier: dict[str, int | bool] = {}
    """The SSD tier's, by those of `inference.engine.prefix.disk.TierCounters`."""
    memory: dict[str, Any] = {}
    """The memory monitor's report; then those of the others."""
    divergence: dict[str, Any] = {}
    repetition: dict[str, Any] = {}


ClientMessage = Hello | Request | Cancel | Count | Reconcile
Event = (
    Ready | Accepted | FirstToken | Delta | Ended | Embedded | Ranked | Finished | Failed
    | Counted | Reconciled | Stats
)  # fmt: skip

PARENT = "ATELIER_PARENT_PID"
"""The environment variable in which whoever starts an engine leaves its process id: by the time the engine looks, it
may be gone."""
LOAD_FAILED = 3
"""An engine's exit code: the model can't be loaded, and trying again at once won't help."""

encode = msgspec.msgpack.Encoder().encode
decode_client_message = msgspec.msgpack.Decoder(ClientMessage).decode
decode_events = msgspec.msgpack.Decoder(list[Event]).decode


def addresses(endpoint: str) -> tuple[str, str]:
    """The ZeroMQ addresses of an engine's intake and output sockets."""
    return f"{endpoint}.in", f"{endpoint}.out"
