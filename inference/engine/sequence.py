"""A request while the engine works on it: its prompt, its progress, its bill."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from inference.engine.protocol import Sampling, Tally
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.stops import StopMatcher


@dataclass(slots=True, eq=False)
class Sequence:
    """One request. Three threads meet here, each with fields of its own: intake fills in the request, the step
    thread the progress, the output thread the text. `ended` is the one flag that two of them set."""

    id: str
    client: bytes
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    detokenizer: Detokenizer
    stops: StopMatcher
    user: str = ""
    received: float = field(default_factory=perf_counter)

    # The step thread's.
    prefilled: int = 0
    """Prompt tokens whose KV is in `cache`. The last prompt token is never prefilled: it is the first decode input."""
    launched: int = 0
    """Decode steps begun, which is the position of the next draw. At most one ahead of `generated`."""
    generated: int = 0
    cache: list[Any] | None = None
    """Per layer, while it prefills alone; None before that and once the row is in the batch."""
    started: float | None = None
    first_token: float | None = None
    engine_seconds: float = 0.0

    ended: bool = False
    """No more of it is computed. Set by the step thread, and by the output thread at a stop string."""

    # The output thread's.
    counted: int = 0
    """Tokens of the answer that its user is charged for."""
    announced: bool = False
    closed: bool = False
    """Its last event is sent."""

    @property
    def to_prefill(self) -> int:
        return len(self.prompt) - 1 - self.prefilled

    def tally(self) -> Tally:
        now = perf_counter()
        started = self.started or now
        first = self.first_token or now
        return Tally(
            prompt_tokens=len(self.prompt),
            completion_tokens=self.counted,
            queue_ms=(started - self.received) * 1e3,
            prefill_ms=(first - started) * 1e3,
            decode_ms=(now - first) * 1e3,
            engine_seconds=self.engine_seconds,
        )
