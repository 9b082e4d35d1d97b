"""The step loop: the one thread that makes and evaluates MLX arrays."""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from time import perf_counter
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from msgspec import structs

from inference.engine.asked import Asked
from inference.engine.batch import Batch
from inference.engine.books import Books
from inference.engine.failing import Failing, nothing_drawn
from inference.engine.guidance.guide import TOO_COMPLEX, GuideFailed
from inference.engine.intake import Work
from inference.engine.launch import Launch
from inference.engine.loop import StepLoop, Wanted
from inference.engine.monitors.divergence import DivergenceMonitor
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.monitors.repetition import RepetitionMonitor
from inference.engine.output import End, Output, Say, Tokens
from inference.engine.pace import Pace
from inference.engine.protocol import Begun, Divergence, Stats
from inference.engine.roster import Roster
from inference.engine.sampling import TokenLogprobs
from inference.engine.scheduling.scheduler import Plan, Scheduler
from inference.engine.scoring import Scoring
from inference.engine.sequence import Sequence
from inference.engine.vision.looking import Looking

if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye


@dataclass(frozen=True, slots=True)
class Monitors:
    """What watches the engine. prober: runs the divergence monitor's probe, None for a model that doesn't batch."""

    memory: MemoryMonitor
    repetition: RepetitionMonitor
    divergence: DivergenceMonitor
    prober: Callable[[], tuple[list[int], list[int]]] | None


NAP = 0.002
"""Seconds between two looks at a queue in which nobody may run yet."""


class Core(StepLoop):
    """Plans, runs and commits steps for as long as there is work, and sleeps when there is none.

    While nothing changes, the step after is launched before the tokens of the one before are read, so that the device
    never waits for Python; a row is then one token ahead when it ends, and that token is dropped. Whatever moves rows
    (joining, prefilling, preempting, closing ranks) happens between steps.
    """

    def __init__(
        self,
        batch: Batch,
        scheduler: Scheduler[Sequence],
        output: Output,
        *,
        end_tokens: frozenset[int],
        monitors: Monitors,
        batching: str,
        batching_reason: str,
        eye: "Eye | None" = None,
    ):
        super().__init__(output)
        self.batching = batching
        self.batching_reason = batching_reason
        self.batch = batch
        self.scheduler = scheduler
        self.memory = monitors.memory
        self.loops = monitors.repetition
        self._divergence = monitors.divergence
        self._prober = monitors.prober
        self._rows = scheduler.max_rows
        self._end_tokens = end_tokens
        self.books = Books(batch, self._reports)
        self.roster = Roster(batch, scheduler, output, self.memory, self.books)
        self._failing = Failing(batch, self.roster, preempt=self._preempt, prefill=self._prefill)
        self._pace = Pace(scheduler.observe)
        self._scoring = Scoring(batch.model, self.roster, output)
        self._eye = eye
        self._looking: Looking | None = None
        if eye is not None:
            self._looking = Looking(eye, self.roster, output, breathe=self._breathe, most=scheduler.max_waiting)
        self._launch: Launch | None = None
        self._prompts: list[tuple[Sequence, int]] = []
        """What prefills in the step that was launched last, if that is mixed."""

    def run(self) -> None:
        super().run()
        self.batch.prefix.shut()

    def stats(self) -> Stats:
        """From any thread."""
        stats = self.books.stats(self.scheduler.rows, list(self.roster.live.values()))
        return stats if self._eye is None else structs.replace(stats, pictures=self._eye.counters())

    # --- one step ----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        began = perf_counter()
        self._watch()
        for job in self.scheduler.expired(began):
            self.roster.time_out(self.roster.live[job.id])
        plan = self.scheduler.plan(began)
        rows = self.batch.rows
        if plan.preempt or plan.admit or plan.prefill or plan.full or self.batch.unsettled:
            self._finish_launch()
            self._change(plan)
        elif not plan.decode:
            self._finish_launch()
            self._nap()
        if self.batch.rows or self._prompts:
            self._run()
        self.books.steps += 1
        now = perf_counter()
        self.books.bill(now - began, rows)
        self.books.look(now)

    def _watch(self) -> None:
        """The monitors' turn."""
        self.memory.check()
        if self._prober is not None and self._divergence.due():
            self._finish_launch()
            self._divergence.observe(*self._prober())
            # Serialised, those that run go on to their end, and the next ones come in one by one.
            self.scheduler.max_rows = 1 if self._divergence.serialized else self._rows

    def _run(self) -> None:
        """Launches the next step, then reads the one before."""
        previous, self._launch = self._launch, None
        self._pace.launched()
        try:
            try:
                self._launch = self.batch.launch(self._prompts)
            finally:
                # After a launch that failed, too: without the tokens of the step before it, which is good, the rows
                # would come back to the same place and fail there again, for ever.
                if previous is not None:
                    self._commit(previous)
                    self._pace.overlapped(previous)
            self.batch.draw(self._launch)
        except Exception as error:
            self._launch = None
            self._step_failed(error)

    def _finish_launch(self) -> None:
        """Waits for the step under way, so that nothing holds the caches."""
        launch, self._launch = self._launch, None
        if launch is None:
            return
        try:
            self._commit(launch)
        except Exception as error:
            self._step_failed(error)
        else:
            self._pace.alone(launch)
            self._land(launch)

    def _step_failed(self, error: Exception) -> None:
        prompts, self._prompts = self._prompts, []
        self._failing.step(error, prompts)

    def _land(self, launch: Launch) -> None:
        """Books what has prefilled in a mixed step."""
        self._prompts = []
        for chunk in launch.chunks:
            try:
                self.batch.land(chunk)
            except Exception as error:
                if not chunk.sequence.ended:
                    self._failing.prompt(chunk.sequence, error)
            else:
                self._count_prefilled(chunk.sequence, chunk.tokens)

    def _commit(self, launch: Launch) -> None:
        """Reads a step's tokens, hands them to the output thread and lets ended rows stop."""
        said: list[tuple[Sequence, int]] = []
        ends: list[End] = []
        broken: list[tuple[Sequence, Exception]] = []
        told: dict[int, TokenLogprobs] = {}
        tokens, finites = launch.wait()
        rows = len(launch.lanes) - launch.lanes.count(None)
        logprobs = launch.logprobs()
        for lane, (sequence, token, finite) in enumerate(zip(launch.lanes, tokens, finites, strict=True)):
            if sequence is None:
                continue
            if sequence.ended:
                if not sequence.row.ended:
                    # By a stop string, which the output thread found.
                    self.roster.part(sequence)
                continue
            if not finite:
                broken.append((sequence, nothing_drawn(sequence)))
                continue
            if sequence.guide is not None:
                sequence.guide.consume(token)
                if sequence.guide.failed:
                    broken.append((sequence, GuideFailed(TOO_COMPLEX)))
                    continue
            sequence.output.append(token)
            if sequence.course is not None:
                sequence.course.step(rows)
            self.books.generated_tokens += 1
            self.scheduler.charge(sequence, output=1)
            if token in self._end_tokens:
                ends.append(End(sequence, "stop", counted=1))
                continue
            said.append((sequence, token))
            if lane in logprobs:
                told[len(said) - 1] = logprobs[lane]
            if sequence.generated >= sequence.max_tokens:
                ends.append(End(sequence, "length"))
        self._failing.step_worked()
        self._output.put(Tokens(said, told))
        for end in ends:
            self.roster.end(end)
        for sequence, error in broken:
            self.roster.fail(sequence, error)

    def _change(self, plan: Plan[Sequence]) -> None:
        """All that needs the caches to itself, in the plan's order."""
        for sequence in plan.full:
            self.roster.end(End(sequence, "length"))
        for sequence in plan.preempt:
            if not sequence.ended:
                self._preempt(sequence)
        for sequence in self.batch.ended():
            self.roster.leave(sequence)
        for sequence in plan.admit:
            if sequence.ended:
                # By a stop string in what it said before it was preempted.
                self.roster.part(sequence)
            else:
                self._open(sequence)
        prompts, ready = [], []
        for sequence, tokens in plan.prefill:
            tokens = min(tokens, sequence.to_prefill)
            if sequence.ended or sequence.row is None:
                continue
            whole = self.batch.whole and tokens > 0
            last = whole or tokens == sequence.to_prefill
            if whole or (sequence in plan.ahead and last):
                self._begin(sequence)
            elif tokens and self.batch.mixes:
                prompts.append((sequence, tokens))
            elif not self._prefill(sequence, tokens):
                continue
            if last and not plan.gather and not sequence.ended:
                ready.append(sequence)
        for sequence in self.batch.ended():
            self.roster.leave(sequence)
        # One that came back from a preemption may have ended just now, by a stop string that the output thread found.
        ready = [sequence for sequence in ready if sequence.row is not None]
        self.batch.settle(ready)
        self.scheduler.start(ready)
        self._prompts = [prompt for prompt in prompts if prompt[0].row is not None]

    def _open(self, sequence: Sequence) -> None:
        first = sequence.started is None
        if first and not sequence.index:
            self._output.put(Say(sequence.client, Begun(sequence.request.id)))
        sequence.started = sequence.started or perf_counter()
        try:
            if first and sequence.course is not None and (parted := self.batch.prefix.divergence(sequence)):
                sequence.course.divergence = Divergence(*parted)
            self.batch.open(sequence)
            if sequence.seen is not None and self._eye is not None:
                # What the prefix cache had of its pictures a moment ago may be gone.
                for picture in sequence.seen.unseen(sequence.prefilled):
                    self._eye.look(picture, sequence.salt)
        except Exception as error:
            self.roster.fail(sequence, error)
            return
        if first:
            # What it finds when it comes back after a preemption, it has computed itself.
            sequence.cached = sequence.prefilled
            self.books.cached_tokens += sequence.cached
        self.scheduler.charge(sequence, cached=sequence.prefilled)

    def _prefill(self, sequence: Sequence, tokens: int) -> bool:
        """By itself, now. Whether it could be."""
        began, context = perf_counter(), sequence.prefilled
        try:
            self.batch.prefill(sequence, tokens)
        except Exception as error:
            self._failing.prompt(sequence, error)
            return False
        if tokens:
            self.scheduler.observe(0, [(tokens, context)], perf_counter() - began)
            self._count_prefilled(sequence, tokens)
        return True

    def _begin(self, sequence: Sequence) -> None:
        """Prefills all that is left of it and says its first token, by itself, now."""
        began, tokens, context = perf_counter(), sequence.to_prefill, sequence.prefilled
        try:
            launch = self.batch.begin(sequence)
        except Exception as error:
            self._failing.prompt(sequence, error)
            return
        self.scheduler.observe(0, [(tokens + 1, context)], perf_counter() - began)
        self._count_prefilled(sequence, tokens)
        self.books.worked(sequence, 1)
        self._commit(launch)

    def _count_prefilled(self, sequence: Sequence, tokens: int) -> None:
        self.books.prefill_tokens += tokens
        self.books.worked(sequence, tokens)
        self.scheduler.charge(sequence, prompt=tokens)

    def _preempt(self, sequence: Sequence) -> None:
        """It waits again; what it has so far is in the prefix cache then, where there is one."""
        self.books.preemptions += 1
        if sequence.course is not None:
            sequence.course.preemptions += 1
        if sequence.row is not None:
            self.batch.leave(sequence)
        sequence.prefilled = 0
        self.batch.prefix.withdraw(sequence)
        self.scheduler.preempted([sequence])

    def _reports(self) -> dict[str, dict[str, Any]]:
        """What the monitors say."""
        return {
            "memory": structs.asdict(self.memory.report()),
            "divergence": structs.asdict(self._divergence.report()),
            "repetition": structs.asdict(self.loops.report()),
        }

    # --- what the other threads send ---------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return bool(self.roster.live or self._scoring or self._looking)

    def _turn(self) -> None:
        self._scoring.step()
        if self._looking is not None:
            self._looking.step()
        if self.roster.live:
            self.step()

    def _breathe(self) -> None:
        """A turn of all others, while a picture is being looked at."""
        self._receive()
        self._turn()

    def _receive(self) -> None:
        if self._prompts:
            # The plan has to know how far these are, and who came meanwhile.
            self._finish_launch()
        super()._receive()

    def _idle(self) -> Work | None:
        """Blocks until there is work; rows that ended leave first, and buffers that nobody needs any more go back."""
        self._finish_launch()
        for sequence in self.batch.ended():
            self.roster.leave(sequence)
        self.batch.settle()
        while self._inbox.empty() and self.batch.prefix.rest():
            pass
        if self._inbox.empty():
            if self.roster.failures:
                # Exceptions hold frames in cycles, and these the arrays of the steps that failed.
                self.roster.failures = False
                gc.collect()
            mx.clear_cache()
        while True:
            # Its memory is the machine's too, which changes while it rests.
            self.memory.check()
            self.books.look()
            with suppress(Empty):
                return self._inbox.get(timeout=self.memory.interval)

    def _nap(self) -> None:
        """All that there is waits for something that is not a step: a moment's rest instead of a busy loop."""
        try:
            work = self._inbox.get(timeout=NAP)
        except Empty:
            return
        if work is not None:
            self._take(work)

    def _add(self, sequence: Asked, /) -> None:
        assert isinstance(sequence, Sequence)
        if sequence.scored is not None:
            self._scoring.add(sequence)
        elif sequence.seen is not None and self._looking is not None:
            self._looking.add(sequence)
        else:
            self.roster.add(sequence)

    def _keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        self.batch.prefix.keep(client, prefixes)

    def _cancel(self, wanted: Wanted) -> None:
        self.roster.cancel(wanted)
        self._scoring.cancel(wanted)
        if self._looking is not None:
            self._looking.cancel(wanted)

    def _proceed(self, wanted: Wanted) -> None:
        if self._looking is not None:
            self._looking.proceed(wanted)
