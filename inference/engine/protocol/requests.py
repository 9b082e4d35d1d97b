"""What a client says to an engine."""

from typing import Any, Literal

import msgspec


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
    where: str = ""
    """The field that it came in."""
    coarse: bool = False
    """Of a picture: few details are enough."""


class Generate(msgspec.Struct, tag=True, omit_defaults=True):
    """One request: a conversation or plain prompts, and what is to be done with them."""

    id: str
    messages: list[dict[str, Any]] | None = None
    """A conversation for the model's chat template."""
    media: list[Media] = []
    """What the parts `{"type": "image"}` and `{"type": "video"}` of the conversation's messages stand for, in their
    order."""
    video_fps: float | None = None
    """Frames of a second of each video, whose part may name its own `fps`; None: what the model wants."""
    video_max_frames: int | None = None
    """Likewise: at most so many of each video, whose part may name its own `max_frames`."""
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
    """Only requests of the same salt share cached prefixes, but for what `Share` made everybody's: its team's."""
    diagnostics: bool = False
    """Its end is to tell how it was worked on."""
    held: bool = False
    """Once it is accepted, nothing of it is computed before its client says `Proceed`. For requests with media: how
    long they are, nobody knows before, and to look at them costs more than to wait."""
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


class Transcribe(msgspec.Struct, tag=True, omit_defaults=True):
    """What is said in a sound, from a transcription model."""

    id: str
    sound: Media
    task: Literal["transcribe", "translate"] = "transcribe"
    """To translate is to write English, whatever is spoken."""
    language: str | None = None
    """ISO 639-1, of what is spoken; None: the model is to tell."""
    prompt: str | None = None
    """What may have been said before, for names and style."""
    temperature: float = 0.0
    """0: greedy, and hotter where that goes wrong."""
    words: bool = False
    """Each word's times are wanted."""
    stream: bool = False
    """The text is wanted piece by piece."""
    user: str = ""
    """As in Generate, as is `instance`."""
    instance: str = ""


AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
"""pcm: 16 bits, little-endian, one channel of 24,000 Hz, and nothing around it."""


class Speak(msgspec.Struct, tag=True, omit_defaults=True):
    """A text read out, from a speech model."""

    id: str
    text: str
    voice: str = ""
    """One of those that `Ready` names; empty: whichever the model takes by itself."""
    instructions: str | None = None
    format: AudioFormat = "mp3"
    speed: float = 1.0
    user: str = ""
    """As in Generate, as is `instance`."""
    instance: str = ""


Request = Generate | Embed | Rerank | Transcribe | Speak


class SharedText(msgspec.Struct, frozen=True):
    """A system prompt, or how a plain prompt begins, that requests of all salts share what is cached of."""

    text: str
    pinned: bool = False
    """What is cached of it stays."""

    def __repr__(self) -> str:
        # What prompts say is in no log, not even by an error's way.
        return f"SharedText({len(self.text)} characters, pinned={self.pinned})"


class Share(msgspec.Struct, tag=True):
    """For all that this client sends from now on: these texts are everybody's, and no others."""

    texts: list[SharedText]


class Cancel(msgspec.Struct, tag=True):
    """Stop this request. Its answer is `Finished` with reason `cancelled`, unless it had ended already."""

    id: str


class Proceed(msgspec.Struct, tag=True):
    """This request, which was sent to be held, may begin. It says nothing to others."""

    id: str


class Count(msgspec.Struct, tag=True):
    """How long is the prompt of this request? It is not run. The answer is one event, Counted or Failed."""

    request: Generate


class Reconcile(msgspec.Struct, tag=True):
    """A restarted client asks how the requests of its former life ended; those still running are cancelled."""

    ids: list[str]


ClientMessage = Hello | Request | Share | Cancel | Proceed | Count | Reconcile
