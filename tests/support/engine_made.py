"""An engine within the test's own process: the real core, driven step by step, with its logits on record; and the
matrix of what the gates found.

What a whole engine process adds (sockets, threads) has tests of its own; here a step must be the test's to take.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest

from inference.engine import assembly, books, core, pace, roster
from inference.engine.intake import CancelRequest
from inference.engine.kv.banks import Row
from inference.engine.kv.selftest import Batching, decide
from inference.engine.model import LoadedModel
from inference.engine.options import make
from inference.engine.output import End, Failure, Item, Tokens
from inference.engine.prepare import prepare
from inference.engine.protocol import Generate
from inference.engine.sequence import Sequence
from tests.support.models_made import Kind, alone

CLIENT = b"test"
STEP_SECONDS, TOKEN_SECONDS = 1e-3, 2e-4
"""What the clock makes of a call of the model: long prompts take several steps of 100 ms."""
FORCED = 1e4
"""A logit that greedy sampling always takes; bfloat16 holds it too."""

CLOCKS = (books, core, pace, roster)
"""Modules that look at the clock."""

_decisions: dict[int, Batching] = {}
"""By the model's id: modules can't be hashed, and those here live as long as the session."""


class Recorder:
    """In the place of the output thread, which needs sockets and turns tokens into events for them: what the step
    thread hands over is all that the gates want to see.

    `stop_after` plays its one part in the engine's state: it finds a stop string after so many tokens of a request.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, list[int]] = {}
        self.ends: dict[str, list[str]] = {}
        """Reasons and error codes; a request has exactly one in the end."""
        self.unsaid: dict[str, int] = {}
        """Tokens that ended an answer and have no text."""
        self.stop_after: dict[str, int] = {}

    def put(self, item: Item) -> None:
        match item:
            case Tokens(rows, _):
                for sequence, token in rows:
                    self._token(sequence, token)
            case End(sequence, reason, counted):
                self._end(sequence, reason, counted)
            case Failure(sequence, code, _):
                self._end(sequence, code, 0)

    def _token(self, sequence: Sequence, token: int) -> None:
        if sequence.closed:
            return
        said = self.tokens.setdefault(sequence.id, [])
        said.append(token)
        if len(said) == self.stop_after.get(sequence.id):
            sequence.ended = True
            self._end(sequence, "stop", 0)

    def _end(self, sequence: Sequence, reason: str, counted: int) -> None:
        if not sequence.closed:
            sequence.closed = True
            self.unsaid[sequence.id] = counted
            self.ends.setdefault(sequence.id, []).append(reason)


class Tap:
    """The model as the batch sees it, with three additions: logits are recorded, chosen requests say what they are
    told to, and steps with chosen requests fail."""

    def __init__(self, model: Any, engine: "Engine"):
        self._model = model
        self._engine = engine
        self.lanes: list[Sequence | None] | None = None
        """Those that decode in the step that is being built; None while a prompt prefills by itself."""
        self.trial = False
        self.script: dict[str, list[int]] = {}
        self.fails: Callable[[Sequence], bool] = lambda sequence: False
        self.steps: list[tuple[list[tuple[str, int, int]], mx.array]] = []
        """Request, position and lane, with the step's logits."""

    def __call__(self, tokens: mx.array, cache: Any = None, **given: Any) -> mx.array:
        self._engine.now += STEP_SECONDS + TOKEN_SECONDS * tokens.size
        logits: mx.array = self._model(tokens, cache=cache, **given)
        if not self.lanes:
            return logits
        there = [(lane, sequence) for lane, sequence in enumerate(self.lanes) if sequence is not None]
        if any(self.fails(sequence) for _, sequence in there):
            raise RuntimeError("this step was chosen to fail")
        if self.trial:
            return logits
        self.steps.append(([(s.id, s.launched, lane) for lane, s in there], logits[:, -1]))
        forced = np.zeros((logits.shape[0], 1, logits.shape[-1]), bool)
        for lane, sequence in there:
            script = self.script.get(sequence.id, [])
            if sequence.launched < len(script):
                forced[lane, 0, script[sequence.launched]] = True
        return mx.where(mx.array(forced), mx.array(FORCED, logits.dtype), logits)


class Engine:
    """A core for one model. Use as a context: its clock is the core's clock meanwhile, and passes with the tokens that
    go through the model, so that a schedule is the same on every machine and under every load."""

    def __init__(self, model: LoadedModel, **options: Any):
        self.model = model
        self.now = 0.0
        self.output = Recorder()
        self._clock = [mock.patch.object(module, "perf_counter", lambda: self.now) for module in CLOCKS]
        with mock.patch.object(assembly, "decide", decide_once), self:
            self.core = assembly.assemble(model, make(options), self.output)  # type: ignore[arg-type]
        self.batch = self.core.batch
        self.store = self.batch.store
        self.prefix = self.batch.prefix
        self.tap = self.batch.model = Tap(self.batch.model, self)
        self.sequences: dict[str, Sequence] = {}
        self.moves = self.most_rows = self.most_sharing = self.mixed_steps = self.ahead = 0
        """Rows that outgrew their class; that decoded in one step; that read a prefix together in one step. Steps in
        which rows decoded and prompts prefilled; prompts that were computed ahead of such a step."""
        self.classes: set[int] = set()
        """Capacities of the slots that decoded."""
        self.batch.launch = partial(self._launch, self.batch.launch)  # type: ignore[method-assign]
        self.batch.begin = partial(self._begin, self.batch.begin)  # type: ignore[method-assign]
        self.batch.works = partial(self._works, self.batch.works)  # type: ignore[method-assign]
        self.store.move = partial(self._move, self.store.move)  # type: ignore[method-assign]

    def __enter__(self) -> "Engine":
        for clock in self._clock:
            clock.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for clock in self._clock:
            clock.stop()

    # --- asking ------------------------------------------------------------------------------------------------------

    def submit(
        self, prompt: list[int], *, say: list[int] | None = None, stop_after: int | None = None, **request: Any
    ) -> str:
        """Queues a request and returns its id. say: the tokens that it is made to answer, whatever the logits are."""
        id = f"r{len(self.sequences)}"
        if say is not None:
            self.tap.script[id] = say
            request["max_tokens"] = len(say)
        asked = Generate(id=id, **({"prompts": [prompt]} if prompt else {}), **request)
        sequence = prepare(CLIENT, asked, self.model).sequences[0]
        sequence.received = self.now
        self.sequences[id] = sequence
        if stop_after is not None:
            self.output.stop_after[id] = stop_after
        self.core.submit(sequence)
        return id

    def cancel(self, id: str) -> None:
        self.core.submit(CancelRequest(CLIENT, id))

    def tick(self) -> bool:
        """One turn of the core's own loop, less its sleep; whether there is anything left to do."""
        self.core._inbox.put(None)  # ends the loop's wait for more
        self.core._breathe()
        return self.core._busy

    def finish(self, most: int = 5000) -> None:
        """Runs until everyone has ended and left."""
        for _ in range(most):
            if not self.tick():
                self.tick()
                return
        raise AssertionError(f"still at it after {most} steps: {list(self.core.roster.live)}")

    def until(self, happened: Callable[[], object]) -> None:
        ticks = (self.tick() for _ in range(2000))
        assert any(happened() for _ in ticks), "it has not happened in 2,000 steps"

    def ask(self, *prompts: list[int], **request: Any) -> list[str]:
        """Submits these at once, runs them to their end, and returns their ids."""
        ids = [self.submit(prompt, **request) for prompt in prompts]
        self.finish()
        return ids

    # --- what came of it ---------------------------------------------------------------------------------------------

    def said(self, id: str) -> list[int]:
        return self.output.tokens.get(id, [])

    def text(self, id: str) -> str:
        return str(self.model.tokenizer.decode(self.said(id), skip_special_tokens=True))

    def logits(self, id: str) -> Iterator[tuple[int, np.ndarray]]:
        """Position in the answer and float32 [vocab], for each time that the position was computed."""
        for rows, logits in self.tap.steps:
            for owner, position, lane in rows:
                if owner == id:
                    yield position, np.array(logits[lane].astype(mx.float32))

    def worst(self, ids: Iterable[str]) -> float:
        """How far the logits of these requests are from mlx-lm's own, at most, in standard deviations."""
        return max(self.deviation(id) for id in ids)

    def deviation(self, id: str) -> float:
        said = self.tap.script.get(id, self.said(id))
        expected = alone(self.model.model, self.sequences[id].prompt, said)
        done, worst = set(), 0.0
        for position, row in self.logits(id):
            if position < len(said):
                done.add(position)
                worst = max(worst, float(np.abs(row - expected[position]).max()))
        assert done >= set(range(len(self.said(id)))), "a token without logits on record"
        return worst / float(expected.std())

    def _launch(self, launch: Callable[[list[Any]], Any], prompts: list[tuple[Sequence, int]]) -> Any:
        self.tap.lanes = list(self.batch.lanes)
        rows = [sequence.row for sequence in self.batch.rows]
        banks = [row.bank for row in rows if isinstance(row, Row)]
        self.most_rows = max(self.most_rows, len(rows))
        self.most_sharing = max(self.most_sharing, 0, *(banks.count(bank) for bank in banks if bank.shared))
        self.classes.update(bank.capacity for bank in banks)
        self.mixed_steps += bool(rows and prompts)
        try:
            return launch(prompts)
        finally:
            self.tap.lanes = None

    def _begin(self, begin: Callable[[Sequence], Any], sequence: Sequence) -> Any:
        self.tap.lanes = [sequence]
        self.ahead += 1
        try:
            return begin(sequence)
        finally:
            self.tap.lanes = None

    def _works(self, works: Callable[[list[Sequence]], bool], sequences: list[Sequence]) -> bool:
        self.tap.lanes, self.tap.trial = list(sequences), True
        try:
            return works(sequences)
        finally:
            self.tap.lanes, self.tap.trial = None, False

    def _move(self, move: Callable[[Any], None], row: Any) -> None:
        self.moves += 1
        move(row)


def decide_once(model: Any) -> Batching:
    """The self-test comes out the same each time."""
    if id(model) not in _decisions:
        _decisions[id(model)] = decide(model)
    return _decisions[id(model)]


class Matrix:
    """Kinds of models against gates, printed at the end of the run: a plugin of pytest's from the first entry on."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], float | None] = {}
        """The worst deviation so far; None: failed."""

    @contextmanager
    def cell(self, request: pytest.FixtureRequest, kind: Kind | str, gate: str) -> Iterator["Cell"]:
        """What is tried within counts for this kind and gate."""
        if not request.config.pluginmanager.is_registered(self):
            request.config.pluginmanager.register(self)
        cell = Cell(self._cells.get((str(kind), gate), 0.0))
        self._cells[str(kind), gate] = None
        yield cell
        self._cells[str(kind), gate] = cell.worst

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        kinds = list(dict.fromkeys(kind for kind, _ in self._cells))
        gates = sorted({gate for _, gate in self._cells})
        width = max(len(kind) for kind in kinds)
        terminalreporter.section("gates: largest deviation of a logit, in standard deviations")
        terminalreporter.line(" " * width + "".join(f"{gate:>11}" for gate in gates))
        for kind in kinds:
            cells = "".join(f"{self._word(kind, gate):>11}" for gate in gates)
            terminalreporter.line(f"{kind:<{width}}{cells}")

    def _word(self, kind: str, gate: str) -> str:
        if (kind, gate) not in self._cells:
            return "-"
        worst = self._cells[kind, gate]
        return "FAILED" if worst is None else f"ok {worst:.0e}" if worst else "ok"


@dataclass
class Cell:
    """One kind at one gate. worst: None once anything there has failed."""

    worst: float | None

    def within(self, deviation: float, tolerance: float) -> None:
        if self.worst is not None:
            self.worst = max(self.worst, deviation)
        assert deviation <= tolerance, f"{deviation:.1e} deviations, {tolerance:.0e} are allowed"


MATRIX = Matrix()
