"""The step loop: the one thread that makes and evaluates MLX arrays."""

import gc
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from math import inf
from queue import Empty, SimpleQueue
from time import perf_counter

import mlx.core as mx
from msgspec import structs

from inference.engine.batch import Batch, Launch, NotFinite
from inference.engine.intake import CancelClient, CancelRequest, ReconcileRequest, Work
from inference.engine.isolation import culprits, is_out_of_memory
from inference.engine.monitors.divergence import DivergenceMonitor
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.monitors.repetition import RepetitionMonitor
from inference.engine.output import End, Failure, Output, Recall, Tokens
from inference.engine.protocol import Stats
from inference.engine.sampling import TokenLogprobs
from inference.engine.scheduling.scheduler import Plan, QueueFull, Scheduler
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Monitors:
    """What watches the engine. prober: runs the divergence monitor's probe, None for a model that doesn't batch."""

    memory: MemoryMonitor
    repetition: RepetitionMonitor
    divergence: DivergenceMonitor
    prober: Callable[[], tuple[list[int], list[int]]] | None


RETRIES = 3
"""Steps in a row that may fail although each row's works by itself. After that all of them fail."""


class GuideFailed(Exception):
    """A row's grammar can't say what may come next: it has run into a limit of its own."""


NAP = 0.002
"""Seconds between two looks at a queue in which nobody may run yet."""


class Core:
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
    ):
        self.batching = batching
        self.batching_reason = batching_reason
        self.batch = batch
        self.scheduler = scheduler
        self.memory = monitors.memory
        self.loops = monitors.repetition
        self._divergence = monitors.divergence
        self._prober = monitors.prober
        self._rows = scheduler.max_rows
        self._output = output
        self._end_tokens = end_tokens
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self._live: dict[str, Sequence] = {}
        self._launch: Launch | None = None
        self._launched_at = 0.0
        self._committed_at: float | None = None
        """When the last step was, while another was under way."""
        self._prompts: list[tuple[Sequence, int]] = []
        """What prefills in the step that was launched last, if that is mixed."""
        self._worked: list[tuple[Sequence, int]] = []
        """Prompt tokens that were prefilled since the last step."""
        self._failed_steps = 0
        """In a row."""
        self._failures = False
        """Something has failed since the last rest."""
        self._stopping = False
        self._steps = 0
        self._requests = 0
        self._prefill_tokens = 0
        self._cached_tokens = 0
        self._generated_tokens = 0
        self._preemptions = 0
        self._busy_seconds = 0.0
        self._look_at = 0.0
        self._looked = Stats(steps=0, running=0, waiting=0)

    def submit(self, work: Work) -> None:
        """From any thread."""
        self._inbox.put(work)

    def stop(self) -> None:
        """From any thread or a signal handler: the loop ends after the step under way."""
        self._stopping = True
        self._inbox.put(None)

    def run(self) -> None:
        while not self._stopping:
            self._receive()
            if self._live:
                self.step()
        self.batch.prefix.shut()

    def stats(self) -> Stats:
        """From any thread. How far it is, as of now; all else as of the last look, see `_look`."""
        running = self.scheduler.rows
        return structs.replace(
            self._looked, steps=self._steps, running=running, waiting=max(0, len(self._live) - running)
        )

    def _look(self, now: float = inf) -> None:
        """Takes stock for `stats`, now and then: on this thread, for the books are open while others read them."""
        if now < self._look_at:
            return
        self._look_at = perf_counter() + LOOK_SECONDS
        self._looked = Stats(
            steps=self._steps,
            running=0,
            waiting=0,
            prefill_tokens=self._prefill_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            preemptions=self._preemptions,
            busy_seconds=self._busy_seconds,
            requests=self._requests,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
            kv_bytes=self.batch.store.nbytes,
            pool_bytes=self.batch.prefix.nbytes,
            cache=asdict(self.batch.prefix.counters()),
            tier=self.batch.prefix.tier_counters(),
            memory=structs.asdict(self.memory.report()),
            divergence=structs.asdict(self._divergence.report()),
            repetition=structs.asdict(self.loops.report()),
        )

    # --- one step ----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        began = perf_counter()
        self._watch()
        for job in self.scheduler.expired(began):
            self._time_out(self._live[job.id])
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
        self._steps += 1
        now = perf_counter()
        self._bill(now - began, rows)
        self._look(now)

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
        self._launched_at = perf_counter()
        try:
            try:
                self._launch = self.batch.launch(self._prompts)
            finally:
                # After a launch that failed, too: without the tokens of the step before it, which is good, the rows
                # would come back to the same place and fail there again, for ever.
                if previous is not None:
                    self._commit(previous)
                    self._observe_pace(previous)
            self.batch.draw(self._launch)
        except Exception as error:
            self._launch = None
            self._isolate(error)

    def _finish_launch(self) -> None:
        """Waits for the step under way, so that nothing holds the caches."""
        launch, self._launch = self._launch, None
        if launch is None:
            return
        try:
            self._commit(launch)
        except Exception as error:
            self._isolate(error)
        else:
            self._observe_alone(launch)
            self._land(launch)

    def _observe_alone(self, launch: Launch) -> None:
        """How long a step took that was launched and awaited by itself. Of one that overlapped the one before, nobody
        knows when the device began with it: backends without a queue of their own compute within the launch."""
        overlapped, self._committed_at = self._committed_at is not None, None
        if not overlapped:
            chunks = [(chunk.tokens + chunk.joins, chunk.sequence.prefilled) for chunk in launch.chunks]
            rows = len(launch.lanes) - sum(chunk.joins for chunk in launch.chunks)
            self.scheduler.observe(rows, chunks, perf_counter() - self._launched_at)

    def _observe_pace(self, launch: Launch) -> None:
        """Steps that overlap take as long as it is from one's end to the next one's."""
        before, self._committed_at = self._committed_at, perf_counter()
        if before is not None:
            self.scheduler.observe(len(launch.lanes), [], self._committed_at - before)

    def _land(self, launch: Launch) -> None:
        """Books what has prefilled in a mixed step."""
        self._prompts = []
        for chunk in launch.chunks:
            try:
                self.batch.land(chunk)
            except Exception as error:
                if not chunk.sequence.ended:
                    self._prefill_failed(chunk.sequence, error)
            else:
                self._count_prefilled(chunk.sequence, chunk.tokens)

    def _commit(self, launch: Launch) -> None:
        """Reads a step's tokens, hands them to the output thread and lets ended rows stop."""
        said: list[tuple[Sequence, int]] = []
        ends: list[End] = []
        broken: list[tuple[Sequence, Exception]] = []
        told: dict[int, TokenLogprobs] = {}
        tokens, finites = launch.wait()
        logprobs = launch.logprobs()
        for lane, (sequence, token, finite) in enumerate(zip(launch.lanes, tokens, finites, strict=True)):
            if sequence is None:
                continue
            if sequence.ended:
                if not sequence.row.ended:
                    # By a stop string, which the output thread found.
                    self._part(sequence)
                continue
            if not finite:
                broken.append((sequence, NotFinite()))
                continue
            if sequence.guide is not None:
                sequence.guide.consume(token)
                if sequence.guide.failed:
                    broken.append((sequence, GuideFailed()))
                    continue
            sequence.output.append(token)
            self._generated_tokens += 1
            self.scheduler.charge(sequence, output=1)
            if token in self._end_tokens:
                ends.append(End(sequence, "stop", counted=1))
                continue
            said.append((sequence, token))
            if lane in logprobs:
                told[len(said) - 1] = logprobs[lane]
            if sequence.generated >= sequence.max_tokens:
                ends.append(End(sequence, "length"))
        self._failed_steps = 0
        self._output.put(Tokens(said, told))
        for end in ends:
            self._end(end)
        for sequence, error in broken:
            self._fail(sequence, error)

    def _change(self, plan: Plan[Sequence]) -> None:
        """All that needs the caches to itself, in the plan's order."""
        for sequence in plan.full:
            self._end(End(sequence, "length"))
        for sequence in plan.preempt:
            if not sequence.ended:
                self._preempt(sequence)
        for sequence in self.batch.ended():
            self._leave(sequence)
        for sequence in plan.admit:
            if sequence.ended:
                # By a stop string in what it said before it was preempted.
                self._part(sequence)
            else:
                self._open(sequence)
        prompts, ready = [], []
        for sequence, tokens in plan.prefill:
            tokens = min(tokens, sequence.to_prefill)
            if sequence.ended or sequence.row is None:
                continue
            last = tokens == sequence.to_prefill
            if tokens and self.batch.mixes:
                prompts.append((sequence, tokens))
            elif not self._prefill(sequence, tokens):
                continue
            if last and not plan.gather:
                ready.append(sequence)
        for sequence in self.batch.ended():
            self._leave(sequence)
        # One that came back from a preemption may have ended just now, by a stop string that the output thread found.
        ready = [sequence for sequence in ready if sequence.row is not None]
        self.batch.settle(ready)
        self.scheduler.start(ready)
        self._prompts = [prompt for prompt in prompts if prompt[0].row is not None]

    def _open(self, sequence: Sequence) -> None:
        first = sequence.started is None
        sequence.started = sequence.started or perf_counter()
        try:
            self.batch.open(sequence)
        except Exception as error:
            self._fail(sequence, error)
            return
        if first:
            # What it finds when it comes back after a preemption, it has computed itself.
            sequence.cached = sequence.prefilled
            self._cached_tokens += sequence.cached
        self.scheduler.charge(sequence, cached=sequence.prefilled)

    def _prefill(self, sequence: Sequence, tokens: int) -> bool:
        """By itself, now. Whether it could be."""
        began, context = perf_counter(), sequence.prefilled
        try:
            self.batch.prefill(sequence, tokens)
        except Exception as error:
            self._prefill_failed(sequence, error)
            return False
        if tokens:
            self.scheduler.observe(0, [(tokens, context)], perf_counter() - began)
            self._count_prefilled(sequence, tokens)
        return True

    def _count_prefilled(self, sequence: Sequence, tokens: int) -> None:
        self._prefill_tokens += tokens
        self._worked.append((sequence, tokens))
        self.scheduler.charge(sequence, prompt=tokens)

    def _preempt(self, sequence: Sequence) -> None:
        """It waits again; what it has so far is in the prefix cache then, where there is one."""
        self._preemptions += 1
        if sequence.row is not None:
            self.batch.leave(sequence)
        sequence.prefilled = 0
        self.batch.prefix.withdraw(sequence)
        self.scheduler.preempted([sequence])

    def _bill(self, seconds: float, rows: list[Sequence]) -> None:
        """Shares a step's time among those it worked for, by tokens processed."""
        self._busy_seconds += seconds
        worked, self._worked = [*((row, 1) for row in rows), *self._worked], []
        tokens = sum(count for _, count in worked)
        for sequence, count in worked:
            sequence.engine_seconds += seconds * count / tokens

    # --- what the other threads send ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Takes in all that has arrived; sleeps while there is nothing to do."""
        if self._prompts:
            # The plan has to know how far these are, and who came meanwhile.
            self._finish_launch()
        try:
            while True:
                work = self._inbox.get_nowait() if self._live else self._idle()
                if work is None:
                    return
                self._take(work)
        except Empty:
            return

    def _idle(self) -> Work | None:
        """Blocks until there is work; rows that ended leave first, and buffers that nobody needs any more go back."""
        self._finish_launch()
        for sequence in self.batch.ended():
            self._leave(sequence)
        self.batch.settle()
        while self._inbox.empty() and self.batch.prefix.rest():
            pass
        if self._inbox.empty():
            if self._failures:
                # Exceptions hold frames in cycles, and these the arrays of the steps that failed.
                self._failures = False
                gc.collect()
            mx.clear_cache()
        self._look()
        return self._inbox.get()

    def _nap(self) -> None:
        """All that there is waits for something that is not a step: a moment's rest instead of a busy loop."""
        try:
            work = self._inbox.get(timeout=NAP)
        except Empty:
            return
        if work is not None:
            self._take(work)

    def _take(self, work: Work) -> None:
        match work:
            case Sequence():
                self._add(work)
            case CancelRequest(client, id):
                self._cancel(s for s in self._live.values() if s.request.id == id and s.client == client)
            case CancelClient(client):
                self._cancel(s for s in self._live.values() if s.client == client)
            case ReconcileRequest(client, ids):
                wanted = set(ids)
                self._cancel(s for s in self._live.values() if s.request.id in wanted)
                self._output.put(Recall(client, ids))

    def _cancel(self, sequences: Iterable[Sequence]) -> None:
        for sequence in list(sequences):
            self._end(End(sequence, "cancelled"))

    def _add(self, sequence: Sequence) -> None:
        if sequence.request.failed:
            return
        if sequence.id in self._live:
            sequence.request.failed = True
            self._output.put(Failure(sequence, "engine_error", "A request with this id is running already."))
            return
        refusal = self.memory.refusal()
        if refusal is None:
            try:
                self.scheduler.add(sequence, perf_counter())
            except QueueFull:
                refusal = f"{self.scheduler.max_waiting} requests are waiting already. Try again in a moment."
        if refusal is not None:
            self._output.put(Failure(sequence, "server_is_overloaded", refusal))
            self._fail_request(sequence)
            return
        self._requests += 1
        self._live[sequence.id] = sequence
        self.batch.prefix.admit(sequence)

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _end(self, end: End | Failure) -> None:
        """It says no more. If it has a row, that goes between steps, see `_leave`."""
        end.sequence.ended = True
        self._output.put(end)
        self._part(end.sequence)
        if isinstance(end, Failure):
            self._fail_request(end.sequence)

    def _fail_request(self, sequence: Sequence) -> None:
        """One answer of several has failed, and the request with it: nobody waits for the others any more."""
        request = sequence.request
        if not request.failed:
            request.failed = True
            self._cancel(each for each in request.sequences if self._live.get(each.id) is each)

    def _part(self, sequence: Sequence) -> None:
        self._live.pop(sequence.id, None)
        self.scheduler.remove([sequence])
        self.batch.end(sequence)
        if sequence.row is None:
            self.batch.prefix.forget(sequence)

    def _leave(self, sequence: Sequence) -> None:
        """Its row goes, what it holds to the prefix cache. The output thread may have ended it unnoticed until now."""
        self._live.pop(sequence.id, None)
        self.scheduler.remove([sequence])
        try:
            self.batch.leave(sequence)
        except Exception:
            log.exception("what request %s has computed could not go to the prefix cache", sequence.id)
        self.batch.prefix.forget(sequence)

    def _time_out(self, sequence: Sequence) -> None:
        seconds = perf_counter() - sequence.received
        message = f"The request has taken {seconds:.0f} s, which is its timeout (--timeout)."
        self._end(Failure(sequence, "timeout", message))

    def _fail(self, sequence: Sequence, error: Exception | None = None) -> None:
        self._failures = True
        if error is not None:
            log.error("request %s failed: %s: %s", sequence.id, type(error).__name__, error)
        self.batch.end(sequence, poisoned=True)
        self._end(Failure(sequence, "engine_error", "The engine failed on this request."))

    def _prefill_failed(self, sequence: Sequence, error: Exception) -> None:
        """Short of memory, the newest prefill makes room, and tries again later, once."""
        if not is_out_of_memory(error):
            self._fail(sequence, error)
        elif sequence.strikes:
            log.error("memory ran out on the prompt of request %s once more", sequence.id)
            self.batch.end(sequence, poisoned=True)
            message = "The engine has not enough memory for this request now. Try again, or with a shorter prompt."
            self._end(Failure(sequence, "server_is_overloaded", message))
        else:
            log.warning("memory ran out on the prompt of request %s; it waits and tries again", sequence.id)
            sequence.strikes += 1
            sequence.row.poisoned = True
            self._preempt(sequence)
            mx.clear_cache()

    def _isolate(self, error: Exception) -> None:
        """A step of the whole batch failed. Those on whom it fails get an honest error; the others don't notice."""
        prompts, self._prompts = self._prompts, []
        log.error("a step of %d rows and %d prompts failed: %s: %s",
                  len(self.batch.rows), len(prompts), type(error).__name__, error)  # fmt: skip
        self.batch.rewind(prompts)
        self._failed_steps += 1
        hopeless = self._failed_steps > RETRIES
        for sequence, tokens in prompts:
            if not sequence.ended:
                self._prefill(sequence, tokens)
        self.batch.settle()
        rows = self.batch.rows
        for sequence in rows if hopeless else culprits(rows, self.batch.works) if rows else ():
            self._fail(sequence)
        if not self.batch.rewinds:
            for sequence in self.batch.rows:
                sequence.row.poisoned = True
                self._preempt(sequence)
        self.batch.settle()
