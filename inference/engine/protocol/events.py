"""What an engine says to its clients."""

from typing import Any, Literal

import msgspec

ModelKind = Literal["text", "vision", "embedding", "reranker", "transcription", "speech"]


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
    modalities: list[str] = []
    """What prompts may be made of: "text", "image", "video", "audio"; empty: as its kind would have it."""
    traits: Traits = Traits()
    voices: list[str] = []
    """That a speech model has."""
    options: dict[str, Any] = {}
    """What it runs with, as far as that is not the default: see `inference.engine.options`."""


class Accepted(msgspec.Struct, tag=True):
    """The prompt is tokenised and queued; `prompt_tokens` is its true length."""

    id: str
    prompt_tokens: int


class Begun(msgspec.Struct, tag=True):
    """It has left the queue: its prompt is being prefilled."""

    id: str


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
    picture_tokens: int = 0
    """Of the prompt's: those that stand for pictures and videos; 0 where the model's own processor alone knows."""


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


class Segment(msgspec.Struct, array_like=True):
    """A stretch of a transcript. Times are in seconds from the sound's beginning; the numbers are 0 where the model
    has none."""

    start: float
    end: float
    text: str
    tokens: list[int] = []
    seek: int = 0
    """Where the window began in which it was heard, in hundredths of a second."""
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0


class Word(msgspec.Struct, array_like=True):
    word: str
    start: float
    end: float


class TranscriptDelta(msgspec.Struct, tag=True):
    """More of a transcript that is wanted piece by piece."""

    id: str
    text: str


class Transcribed(msgspec.Struct, tag=True):
    """The whole transcript that a Transcribe asked for."""

    id: str
    text: str
    language: str
    """In English and small letters, as `german`; empty where nobody knows."""
    seconds: float
    """Of the sound."""
    segments: list[Segment]
    words: list[Word]


class AudioDelta(msgspec.Struct, tag=True):
    """More of the sound that a Speak asked for, in its format: all of them, one behind the other, are one file."""

    id: str
    data: bytes


FailureCode = Literal[
    "unsupported_model", "invalid_prompt", "invalid_format", "context_length_exceeded", "server_is_overloaded",
    "timeout", "engine_error", "media_unreadable", "media_unsupported", "media_too_large",
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
    batch: int = 0
    """Of both together, those of the class `batch`. Engines without classes don't tell."""
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
    idle_memory_bytes: int = 0
    """What MLX keeps for reuse."""
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
    pictures: dict[str, int] = {}
    """Of a model that sees: how many went through its encoder since the start (`encoded`), of how many the features
    were still known (`remembered`), and the `bytes` of those that are kept."""


Event = (
    Ready | Accepted | Begun | FirstToken | Delta | Ended | Embedded | Ranked | TranscriptDelta | Transcribed
    | AudioDelta | Finished | Failed | Counted | Reconciled | Stats
)  # fmt: skip
