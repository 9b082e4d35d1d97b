"""The one internal request that every dialect's body becomes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct, structs

from accounts.authentication import Principal
from gateway import errors
from gateway.media.reader import Media
from gateway.media.rules import Kind
from gateway.media.source import Source
from gateway.request_diagnostics import DiagnosticsLevel
from gateway.tiers import Tier, class_for
from inference.engine import protocol

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's: a client that leaves it out expects sampling. (A model's own default comes before it.)"""
MOST_STOPS = 4
MOST_ANSWERS = 16
LARGEST = 2**31 - 1
MEDIA_TOKENS = {Kind.IMAGE: 256, Kind.VIDEO: 2048, Kind.AUDIO: 256}
"""Of one, before its model has counted them."""

Count = Annotated[int, Meta(ge=1, le=LARGEST)]
TokenId = Annotated[int, Meta(ge=0, le=LARGEST)]
TokenKey = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9]{1,10}$"})]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Asked(Protocol):
    """What running a request takes, whatever is asked."""

    @property
    def endpoint(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def prompt_param(self) -> str: ...

    @property
    def stream(self) -> bool: ...

    @property
    def tier(self) -> Tier | None:
        """The service tier that was asked for; None: whichever the key has."""
        ...

    @property
    def choices(self) -> int:
        """Answers that are wanted in all."""
        ...

    def estimated_prompt_tokens(self) -> int: ...

    def most_tokens(self) -> int:
        """That all of its answers may have together, if the context allows it."""
        ...

    def of(self, *, record_id: str, principal: Principal) -> protocol.Request: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants to be written, whichever dialect it said it in."""

    endpoint: str
    """As the ledger calls it, such as `chat.completions`."""
    model: str
    prompt: protocol.Generate
    """All but what only a running request has: its id, and what its key says (see `of`)."""
    prompt_param: str
    """The field that an engine's complaint about the prompt is about."""
    stream: bool
    diagnostics: DiagnosticsLevel | None = None
    """How much the answer is to tell of how it was made; None: nothing."""
    tier: Tier | None = None
    """The service tier that was asked for; None: whichever the key has."""
    sources: Sequence[Source] = ()
    """Where the conversation's pictures, videos and sounds come from, in their order."""

    @property
    def choices(self) -> int:
        return self.prompt.n * max(1, len(self.prompt.prompts))

    def estimated_prompt_tokens(self) -> int:
        """Before the engine has counted: four characters a token, and some for the template's frame."""
        texts = [text for message in self.prompt.messages or [] for text in _texts(message.get("content"))]
        prompts = sum(len(each) // 4 + 4 if isinstance(each, str) else len(each) for each in self.prompt.prompts)
        media = sum(MEDIA_TOKENS[source.kind] for source in self.sources)
        return prompts + sum(4 + len(text) // 4 for text in texts) + media

    def with_media(self, media: Sequence[Media]) -> "Ask":
        """The same, with what was found at its sources."""
        files = [protocol.Media(each.data, each.where) for each in media]
        return replace(self, prompt=structs.replace(self.prompt, media=files), sources=())

    def most_tokens(self) -> int:
        most = self.prompt.max_tokens
        return (self.prompt.default_max_tokens if most is None else most) * self.choices

    def of(self, *, record_id: str, principal: Principal) -> protocol.Generate:
        """What goes to the engine. Turns in the fair queue are the account's, whatever `user` the body names."""
        return structs.replace(
            self.prompt,
            id=record_id,
            user=str(principal.user_id),
            weight=principal.weight,
            priority=class_for(principal, self.tier),
            salt=principal.cache_salt,
            diagnostics=self.diagnostics is not None,
        )


def _texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [str(part.get("text", "")) for part in content]
    return [str(content or "")]


class StreamOptions(Struct):
    include_usage: bool | None = None


class GenerationFields(Struct, kw_only=True):
    """The fields that chat and plain completions share. null always means the default."""

    model: str
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_ANSWERS)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=LARGEST)] | None = None
    """0 and -1: all tokens."""
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Annotated[float, Meta(ge=0, le=0.5)] | None = None
    """Above a half no two tokens can be at once, so that nothing would ever be excluded."""
    logit_bias: Annotated[dict[TokenKey, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    include_diagnostics: bool | None = None
    diagnostics_level: DiagnosticsLevel | None = None

    def sampling(self, *, logprobs: int | None = None) -> protocol.Sampling:
        temperature = DEFAULT_TEMPERATURE if self.temperature is None else self.temperature
        return protocol.Sampling(
            # The smallest nucleus is the likeliest token alone.
            temperature=0.0 if self.top_p == 0 else temperature,
            top_p=self.top_p or 1.0,
            top_k=max(0, self.top_k or 0),
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            xtc_probability=self.xtc_probability or 0.0,
            xtc_threshold=XTC_THRESHOLD if self.xtc_threshold is None else self.xtc_threshold,
            seed=random.getrandbits(32) if self.seed is None else fold(self.seed),
            logprobs=logprobs,
            logit_bias={token_id(key): bias for key, bias in (self.logit_bias or {}).items()},
        )

    def omitted(self) -> list[str]:
        """The sampling fields that the client left to us, and we to the model, should it have defaults of its own."""
        names = [name for name in SAMPLING_FIELDS if getattr(self, name) is None]
        # A top_p of 0 has said what the temperature is.
        return [name for name in names if not (name == "temperature" and self.top_p == 0)]

    def stops(self) -> list[str]:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if "" in stops:
            raise errors.invalid("`stop`: an empty string would stop at once; leave it out.", param="stop")
        return stops

    def diagnostics(self) -> DiagnosticsLevel | None:
        if self.diagnostics_level is not None and not self.include_diagnostics:
            raise errors.invalid("`diagnostics_level` needs `include_diagnostics: true`.", param="diagnostics_level")
        return (self.diagnostics_level or "basic") if self.include_diagnostics else None

    def wants_usage_chunk(self) -> bool:
        if self.stream_options is not None and not self.stream:
            raise errors.invalid("`stream_options` needs `stream: true`.", param="stream_options")
        return bool(self.stream_options and self.stream_options.include_usage)


SAMPLING_FIELDS = [name for name in protocol.Sampling.__struct_fields__ if name in GenerationFields.__struct_fields__]
XTC_THRESHOLD = protocol.Sampling().xtc_threshold


def fold(seed: int) -> int:
    """A 64-bit seed as the engine's 32 bits; small ones stay what they are."""
    return (seed ^ (seed >> 32)) & 0xFFFFFFFF if seed >= 0 else fold(seed & 0xFFFFFFFFFFFFFFFF)


def token_id(key: str) -> int:
    if not (key.isascii() and key.isdigit() and int(key[:11]) <= LARGEST and len(key) <= 11):
        raise errors.invalid('`logit_bias`: keys must be token ids, such as "1234".', param="logit_bias")
    return int(key)


Neutral = dict[str, tuple[Any, ...]]

VALIDATED_ONLY = {"user", "metadata"}
"""Fields that OpenAI stores for later and that must be well-formed; nothing here reads them."""
