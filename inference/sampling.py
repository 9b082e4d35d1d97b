"""The fields by which a request says how its tokens are drawn: the same for HTTP and for the Python API, so that equal
seeds give equal text in both."""

import random
from typing import Annotated

from msgspec import Meta, Struct

from inference.engine import protocol

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's: a client that leaves it out expects sampling. (A model's own default comes before it.)"""
LARGEST = 2**31 - 1
MOST_STOPS = 4
MOST_BIASES = 1024

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]


class SamplingFields(Struct, kw_only=True):
    """None always means the default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
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
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=MOST_STOPS)] | None = None

    def drawn(self, *, logprobs: int | None = None, logit_bias: dict[int, float] | None = None) -> protocol.Sampling:
        """What the engine is told; see `omitted`."""
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
            logit_bias=logit_bias or {},
        )

    def omitted(self) -> list[str]:
        """The sampling fields that the client left to us, and we to the model, should it have defaults of its own."""
        names = [name for name in SAMPLING_FIELDS if getattr(self, name, None) is None]
        # A top_p of 0 has said what the temperature is.
        return [name for name in names if not (name == "temperature" and self.top_p == 0)]


SAMPLING_FIELDS = [name for name in protocol.Sampling.__struct_fields__ if name != "logprobs"]
XTC_THRESHOLD = protocol.Sampling().xtc_threshold


def fold(seed: int) -> int:
    """A 64-bit seed as the engine's 32 bits; small ones stay what they are."""
    return (seed ^ (seed >> 32)) & 0xFFFFFFFF if seed >= 0 else fold(seed & 0xFFFFFFFFFFFFFFFF)
