"""A request while the engine works on it: its prompt, its progress, its bill."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inference.engine.guidance.guide import Guide
from inference.engine.monitors.repetition import RepetitionDetector
from inference.engine.protocol import (
    CallDelta,
    Diagnosis,
    Divergence,
    FinishReason,
    Sampling,
    Tally,
    TokenLogprob,
)
from inference.engine.text.speech import Speech
from inference.engine.vision.features import Seen
from inference.engine.vision.whole import Whole

if TYPE_CHECKING:
    from inference.engine.sampling import TokenLogprobs


@dataclass(slots=True, eq=False)
class Request:
    """What a client asked for: one or several answers. All but what intake fills in is the output thread's."""

    id: str
    client: bytes
    sequences: list["Sequence"] = field(default_factory=list)
    """One for each answer, in their order."""
    n: int = 1
    """Answers to each prompt."""
    failed: bool = False
    """Set by the step thread: one answer has failed."""
    announced: bool = False
    reason: FinishReason | None = None
    """How its first answer ended."""
    closed: bool = False
    """Its last event is sent."""
    held: bool = False
    """The step thread's: its client has not said yet that it may begin."""

    @property
    def prompt_tokens(self) -> int:
        """Of each prompt, once."""
        return sum(len(sequence.prompt) for sequence in self.sequences[:: self.n])

    def tally(self) -> Tally:
        """Of all answers: tokens add up, times are those from the first to the last."""
        now = perf_counter()
        each = self.sequences
        received = min(sequence.received for sequence in each)
        started = min((s.started for s in each if s.started is not None), default=now)
        first = min((s.first_token for s in each if s.first_token is not None), default=now)
        return Tally(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=sum(sequence.cached for sequence in each[:: self.n]),
            completion_tokens=sum(sequence.counted for sequence in each),
            reasoning_tokens=sum(sequence.thought for sequence in each),
            queue_ms=(started - received) * 1e3,
            prefill_ms=max(0.0, first - started) * 1e3,
            decode_ms=(now - max(first, started)) * 1e3,
            engine_seconds=sum(sequence.engine_seconds for sequence in each),
        )

    def diagnosis(self) -> Diagnosis | None:
        """None where nobody asked for it."""
        courses = [sequence.course for sequence in self.sequences if sequence.course is not None]
        if not courses:
            return None
        steps = sum(course.steps for course in courses)
        seen = self.sequences[0].seen
        return Diagnosis(
            context_tokens=max(len(sequence.prompt) + sequence.counted for sequence in self.sequences),
            rows=sum(course.rows for course in courses) / steps if steps else 0.0,
            most_rows=max(course.most_rows for course in courses),
            preemptions=sum(course.preemptions for course in courses),
            divergence=courses[0].divergence,
            picture_tokens=len(seen.places) if isinstance(seen, Seen) else 0,
        )


@dataclass(slots=True)
class Course:
    """What the step thread remembers of a sequence whose request wants to know."""

    steps: int = 0
    """In which it decoded."""
    rows: int = 0
    """Of all these steps together."""
    most_rows: int = 0
    preemptions: int = 0
    divergence: Divergence | None = None

    def step(self, rows: int) -> None:
        self.steps += 1
        self.rows += rows
        self.most_rows = max(self.most_rows, rows)


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer. Three threads meet here, each with fields of its own: intake fills in the request, the step
    thread the progress, the output thread the text. `ended` is the one flag that two of them set."""

    request: Request
    index: int
    """Among the request's answers."""
    id: str = field(init=False)
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    speech: Speech
    guide: Guide | None = None
    """What it may say: the step thread's, once it is submitted."""
    echo: str = ""
    """Text to say before the answer."""
    scored: "list[TokenLogprobs] | None" = None
    """Of the prompt's tokens but the first, where they were asked for; filled in before it is queued."""
    user: str = ""
    weight: float = 1.0
    """The user's share against others'."""
    priority: str = "api"
    seen: Seen | Whole | None = None
    """The prompt's pictures, if it has any; all of the prompt, for a model that runs one row at a time."""
    salt: str = ""
    """What may share cached prefixes with it: its team's name for that."""
    shared: int = 0
    """Of its prompt's first tokens, those that everybody may share."""
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
    course: Course | None = None
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
    """What is not sent yet: text, thoughts, calls, logprobs, and how many tokens that stands for."""
    unsaid_reasoning: str = ""
    unsaid_calls: list[CallDelta] = field(default_factory=list)
    unsaid_logprobs: list[TokenLogprob] = field(default_factory=list)
    unsaid_tokens: int = 0
    counted: int = 0
    """Tokens of the answer that its user is charged for."""
    thought: int = 0
    """Those of them that were thoughts."""
    closed: bool = False
    """All is said."""

    def __post_init__(self) -> None:
        self.id = self.request.id if not self.index else f"{self.request.id}#{self.index}"

    @property
    def client(self) -> bytes:
        return self.request.client

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
