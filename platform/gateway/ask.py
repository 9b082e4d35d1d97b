"""The one internal request that every dialect's body becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct, structs

from accounts.authentication import Principal
from gateway import errors
from gateway.media.reader import Media
from gateway.media.source import Source
from gateway.request_diagnostics import DiagnosticsLevel
from gateway.tiers import Tier, class_for
from inference.engine import protocol
from inference.sampling import LARGEST, MOST_BIASES, Bias, SamplingFields

MOST_ANSWERS = 16
MEDIA_TOKENS = 1
"""Of a picture or video, at the least: only its model knows better, and is asked before anything of it is computed.
Nobody is refused for what a guess made too large."""

Count = Annotated[int, Meta(ge=1, le=LARGEST)]
TokenId = Annotated[int, Meta(ge=0, le=LARGEST)]
TokenKey = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9]{1,10}$"})]


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
        media = MEDIA_TOKENS * len(self.sources)
        return prompts + sum(4 + len(text) // 4 for text in texts) + media

    def with_media(self, media: Sequence[Media]) -> "Ask":
        """The same, with what was found at its sources. Held, for nobody knows how long it is."""
        files = [protocol.Media(each.data, each.where, each.coarse) for each in media]
        return replace(self, prompt=structs.replace(self.prompt, media=files, held=True), sources=())

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


class GenerationFields(SamplingFields, kw_only=True):
    """The fields that chat and plain completions share. null always means the default."""

    model: str
    max_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_ANSWERS)] | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Meta(max_length=MOST_BIASES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    include_diagnostics: bool | None = None
    diagnostics_level: DiagnosticsLevel | None = None

    def sampling(self, *, logprobs: int | None = None) -> protocol.Sampling:
        """Raises ApiError."""
        bias = {token_id(key): bias for key, bias in (self.logit_bias or {}).items()}
        return self.drawn(logprobs=logprobs, logit_bias=bias)

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


def token_id(key: str) -> int:
    if not (key.isascii() and key.isdigit() and int(key[:11]) <= LARGEST and len(key) <= 11):
        raise errors.invalid('`logit_bias`: keys must be token ids, such as "1234".', param="logit_bias")
    return int(key)


Neutral = dict[str, tuple[Any, ...]]

VALIDATED_ONLY = {"user", "metadata"}
"""Fields that OpenAI stores for later and that must be well-formed; nothing here reads them."""
