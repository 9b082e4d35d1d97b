"""The step loop of an audio engine: the one thread that makes and evaluates MLX arrays."""

import logging
from time import perf_counter
from typing import Any

import mlx.core as mx

from inference.engine.audio.hearing import Transcriber
from inference.engine.audio.job import AudioJob, Piece
from inference.engine.audio.speaking import Synthesizer
from inference.engine.audio.turns import MOST_BEGUN, Waiting
from inference.engine.isolation import is_out_of_memory
from inference.engine.jobs import JobLoop
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.output import Output, Say
from inference.engine.protocol import Begun, FirstToken, Transcribed

log = logging.getLogger(__name__)


class AudioCore(JobLoop[AudioJob]):
    """Goes on with one job at a time, by as much as the model lets be done in a step, and asks anew whose turn it is.

    A job draws its random numbers as if it were alone, and begins where all do, so that the same request is answered
    the same way.
    """

    batching = "single"

    def __init__(
        self, model: Transcriber | Synthesizer, output: Output, *, memory: MemoryMonitor, max_waiting: int
    ) -> None:
        super().__init__(output, memory=memory, max_waiting=max_waiting)
        self.batching_reason = model.alone
        self._model = model
        self._waiting = Waiting(MOST_BEGUN if model.interleaves else 1)

    def _work(self, now: float) -> None:
        job = self._waiting.next()
        if job is None:
            return
        if job.pieces is None:
            job.started = now
            job.pieces = self._model.begin(job)
            self._output.put(Say(job.client, Begun(job.id)))
        self._look()
        pieces: list[Piece] | None = None
        mx.random.seed(job.draws)
        try:
            pieces = next(job.pieces, None)
        except Exception as error:  # whatever a foreign model's code raises
            self._failures = True
            self._bill(job, perf_counter() - now)
            self._blame(job, error)
            return
        job.draws = _position()
        self._bill(job, perf_counter() - now)
        if pieces is None:
            job.done = 1.0
            self._tokens += job.prompt_tokens
            self._finish(job, [])
            return
        for piece in pieces:
            self._say(job, piece)

    def _say(self, job: AudioJob, piece: Piece) -> None:
        if not job.said and not isinstance(piece, Transcribed):
            job.said = True
            assert job.started is not None
            queued, engine = job.started - job.received, perf_counter() - job.received
            self._output.put(Say(job.client, FirstToken(job.id, queue_ms=queued * 1e3, engine_ms=engine * 1e3)))
        self._output.put(Say(job.client, piece))

    def _bill(self, job: AudioJob, seconds: float) -> None:
        job.engine_seconds += seconds
        self._busy_seconds += seconds
        self._waiting.bill(job, seconds)

    def _blame(self, job: AudioJob, error: Exception) -> None:
        # The model's own words may quote the text.
        log.error("request %s failed: %s", job.id, type(error).__name__)
        if is_out_of_memory(error):
            self._fail(job, "server_is_overloaded", "The engine has not enough memory for this now. Shorten it.")
        else:
            self._fail(job, "engine_error", "The engine failed on this request.")

    def _enter(self, job: AudioJob) -> None:
        self._waiting.add(job)

    def _leave(self, job: AudioJob) -> None:
        self._waiting.remove(job)
        if job.pieces is not None:
            job.pieces.close()


def _position() -> int:
    """Where MLX's random numbers stand, as `mx.random.seed` takes it."""
    state: Any = mx.random.state  # a list of one key, [2], whatever its type says
    high, low = state[0].tolist()
    return int(high) << 32 | int(low)
