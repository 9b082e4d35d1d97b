"""The step loop: the one thread that makes and evaluates MLX arrays."""

import logging
from queue import Empty, SimpleQueue
from time import perf_counter

import mlx.core as mx

from inference.engine.batch import Batch, Launch
from inference.engine.intake import CancelClient, CancelRequest, ReconcileRequest, Work
from inference.engine.model import LoadedModel
from inference.engine.output import End, Failure, Output, Recall, Tokens
from inference.engine.protocol import Stats
from inference.engine.scheduler import Plan, QueueFull, Scheduler
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)


class Core:
    """Plans, runs and commits steps for as long as there is work, and sleeps when there is none.

    The step after is launched before the tokens of the one before are read, so that the device never waits for
    Python. A row is therefore one token ahead when it ends; that token is dropped.
    """

    def __init__(self, model: LoadedModel, scheduler: Scheduler, output: Output):
        self._model = model
        self._scheduler = scheduler
        self._output = output
        self._batch = Batch(model.model, model.vocab)
        if not self._batch.mergeable:
            log.warning("%s: its caches can't be batched, so it serves one request at a time", model.name)
            scheduler.max_rows = 1
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self._live: dict[str, Sequence] = {}
        self._launch: Launch | None = None
        self._stopping = False
        self._steps = 0
        self._requests = 0
        self._prefill_tokens = 0
        self._generated_tokens = 0
        self._busy_seconds = 0.0

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

    def stats(self) -> Stats:
        """From any thread; the figures may be a step apart."""
        running = len(self._scheduler.running)
        return Stats(
            steps=self._steps,
            running=running,
            waiting=max(0, len(self._live) - running),
            prefill_tokens=self._prefill_tokens,
            generated_tokens=self._generated_tokens,
            busy_seconds=self._busy_seconds,
            requests=self._requests,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
        )

    def step(self) -> None:
        began = perf_counter()
        plan = self._scheduler.plan()
        for sequence, _ in plan.prefill:
            sequence.started = sequence.started or began
        rows = self._batch.rows
        previous, self._launch = self._launch, None
        try:
            if plan.decode:
                self._launch = self._batch.launch()
            if previous is not None:
                self._commit(previous)
        except Exception:
            self._fail_rows()
        self._prefill(plan)
        self._steps += 1
        self._bill(perf_counter() - began, rows, plan)

    def _commit(self, launch: Launch) -> None:
        """Reads a step's tokens, hands them to the output thread and lets ended rows leave."""
        said: list[tuple[Sequence, int]] = []
        ends: list[End] = []
        for sequence, token in zip(launch.rows, launch.wait(), strict=True):
            if sequence.ended:
                continue
            sequence.generated += 1
            self._generated_tokens += 1
            if token in self._model.end_tokens:
                ends.append(End(sequence, "stop", counted=1))
                continue
            said.append((sequence, token))
            if sequence.generated >= sequence.max_tokens:
                ends.append(End(sequence, "length"))
        self._output.put(Tokens(said))
        for end in ends:
            end.sequence.ended = True
            self._output.put(end)
        self._release([row for row in self._batch.rows if row.ended])

    def _prefill(self, plan: Plan) -> None:
        if self._launch is not None and any(tokens for _, tokens in plan.prefill):
            # The rows' step first: what is timed below is then the prefill alone.
            mx.eval(self._launch.tokens)
        ready: list[Sequence] = []
        for sequence, tokens in plan.prefill:
            began = perf_counter()
            try:
                self._batch.prefill(sequence, tokens)
            except Exception as error:
                self._fail(sequence, error)
                continue
            self._prefill_tokens += tokens
            self._scheduler.observe_prefill(tokens, perf_counter() - began)
            if sequence.to_prefill == 0:
                ready.append(sequence)
        if ready:
            try:
                self._batch.join(ready)
            except Exception:
                self._fail_rows()
                for sequence in ready:
                    self._fail(sequence)
            else:
                self._scheduler.start(ready)

    def _bill(self, seconds: float, rows: list[Sequence], plan: Plan) -> None:
        """Shares a step's time among those it worked for, by tokens processed."""
        self._busy_seconds += seconds
        tokens = len(rows) + sum(count for _, count in plan.prefill)
        if not tokens:
            return
        for sequence in rows:
            sequence.engine_seconds += seconds / tokens
        for sequence, count in plan.prefill:
            sequence.engine_seconds += seconds * count / tokens

    # --- what the other threads send ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Takes in all that has arrived; sleeps while there is nothing to do."""
        try:
            while True:
                work = self._inbox.get_nowait() if self._live else self._idle()
                if work is None:
                    return
                self._take(work)
        except Empty:
            return

    def _idle(self) -> Work | None:
        """Blocks until there is work; buffers that no request needs any more go back first."""
        self._launch = None
        if self._inbox.empty():
            mx.clear_cache()
        return self._inbox.get()

    def _take(self, work: Work) -> None:
        match work:
            case Sequence():
                self._add(work)
            case CancelRequest(client, id):
                sequence = self._live.get(id)
                if sequence is not None and sequence.client == client:
                    self._cancel([sequence])
            case CancelClient(client):
                self._cancel([s for s in self._live.values() if s.client == client])
            case ReconcileRequest(client, ids):
                self._cancel([self._live[id] for id in ids if id in self._live])
                self._output.put(Recall(client, ids))

    def _add(self, sequence: Sequence) -> None:
        if sequence.id in self._live:
            self._output.put(Failure(sequence, "engine_error", "A request with this id is running already."))
            return
        try:
            self._scheduler.add(sequence)
        except QueueFull:
            message = f"{self._scheduler.max_waiting} requests are waiting already. Try again in a moment."
            self._output.put(Failure(sequence, "server_is_overloaded", message))
            return
        self._requests += 1
        self._live[sequence.id] = sequence

    def _cancel(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            sequence.ended = True
            self._output.put(End(sequence, "cancelled"))
        self._release(sequences)

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _release(self, sequences: list[Sequence]) -> None:
        if not sequences:
            return
        for sequence in sequences:
            self._live.pop(sequence.id, None)
            sequence.cache = None
        self._scheduler.remove(sequences)
        self._batch.leave(sequences)

    def _fail(self, sequence: Sequence, error: Exception | None = None) -> None:
        if error is not None:
            log.error("request %s failed: %s: %s", sequence.id, type(error).__name__, error)
        sequence.ended = True
        self._output.put(Failure(sequence, "engine_error", "The engine failed on this request."))
        self._release([sequence])

    def _fail_rows(self) -> None:
        """A step of the whole batch failed: its rows get an honest error, and the engine goes on without them."""
        log.exception("a step with %d rows failed", len(self._batch.rows))
        rows = self._batch.rows
        self._launch = None
        self._batch.clear()
        for sequence in rows:
            if not sequence.ended:
                self._fail(sequence)
        self._release(rows)
