"""A request while an audio engine works on it: what it is made of, its progress, its bill."""

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from inference.engine.protocol import AudioDelta, Speak, Tally, Transcribe, Transcribed, TranscriptDelta

TOKENS_PER_SECOND = 50
"""That a second of sound counts for: Whisper's own grid, which has a place for every 20 ms."""

Piece = TranscriptDelta | AudioDelta | Transcribed
Pieces = Generator[list[Piece], None, None]
"""What a job's steps say, one by one."""


@dataclass(slots=True, eq=False)
class AudioJob:
    """One request. Intake makes it; from then on it is the step thread's."""

    request: Transcribe | Speak
    client: bytes
    prompt_tokens: int
    """Of its sound, or the characters of its text."""
    samples: npt.NDArray[np.float32] | None = None
    """The sound, [samples], at the model's rate."""
    received: float = field(default_factory=perf_counter)
    deadline: float | None = None
    """When it ends with a timeout, by `perf_counter`."""
    started: float | None = None
    said: bool = False
    """Its first piece has come."""
    done: float = 0.0
    """The share of its prompt that has been worked on: 0 to 1."""
    pieces: Pieces | None = None
    """What is left of its work, once that has begun."""
    draws: int = 0
    """Where its random numbers go on: see `AudioCore`."""
    engine_seconds: float = 0.0
    ended: bool = False

    @property
    def id(self) -> str:
        return self.request.id

    def tally(self) -> Tally:
        """What was worked on: of a request that ends early, as far as it came."""
        now = perf_counter()
        started = now if self.started is None else self.started
        return Tally(
            prompt_tokens=math.ceil(self.prompt_tokens * min(self.done, 1.0)),
            queue_ms=(started - self.received) * 1e3,
            prefill_ms=(now - started) * 1e3,
            engine_seconds=self.engine_seconds,
        )
