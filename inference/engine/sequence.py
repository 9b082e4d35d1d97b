"""A request while the engine works on it: its prompt, its progress, its bill."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from inference.engine.monitors.repetition import RepetitionDetector
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
    weight: float = 1.0
    """The user's share against others'."""
    priority: str = "api"
    salt: str = ""
    """What may share cached prefixes with it: its team's name for that."""
    received: float = field(default_factory=perf_counter)
    deadline: float | None = None
    """When it ends with a timeout, by `perf_counter`."""

    # The step thread's.
    prefilled: int = 0
    """Tokens whose keys and values are there. The last token is never prefilled: it is the first decode input."""
    cached: int = 0
    """Tokens of the prompt that did not have to be computed."""
    launched: int = 0
    """Decode steps begun, which is the position of the next draw. At most one ahead of `generated`."""
    output: list[int] = field(default_factory=list)
    """Tokens generated, the one that ended it included."""
    row: Any = None
    """Its place on the device (kv.banks.Row), while it has one."""
    chain: Any = None
    """The keys of its blocks in the prefix cache (prefix.keys.Chain), while it is in the engine."""
    strikes: int = 0
    """How often memory ran out on it."""
    started: float | None = None
    first_token: float | None = None
    engine_seconds: float = 0.0

    ended: bool = False
    """No more of it is computed. Set by the step thread, and by the output thread at a stop string."""

    # The output thread's.
    loops: RepetitionDetector | None = None
    unsaid: str = ""
    """Text that is not sent yet, and how many tokens it stands for."""
    unsaid_tokens: int = 0
    counted: int = 0
    """Tokens of the answer that its user is charged for."""
    announced: bool = False
    closed: bool = False
    """Its last event is sent."""

    @property
    def generated(self) -> int:
        return len(self.output)

    @property
    def context(self) -> int:
        """Tokens known so far: the prompt, and what was generated."""
        return len(self.prompt) + len(self.output)

    @property
    def to_prefill(self) -> int:
        return self.context - 1 - self.prefilled

    @property
    def last_token(self) -> int:
        return self.output[-1] if self.output else self.prompt[-1]

    def tokens(self, start: int, end: int) -> list[int]:
        """Those of prompt and answer at positions [start, end)."""
        split = len(self.prompt)
        if end <= split:
            return self.prompt[start:end]
        return self.prompt[start:split] + self.output[max(0, start - split) : end - split]

    def tally(self) -> Tally:
        now = perf_counter()
        started = self.started or now
        first = self.first_token or now
        return Tally(
            prompt_tokens=len(self.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.counted,
            queue_ms=(started - self.received) * 1e3,
            prefill_ms=(first - started) * 1e3,
            decode_ms=(now - first) * 1e3,
            engine_seconds=self.engine_seconds,
        )
