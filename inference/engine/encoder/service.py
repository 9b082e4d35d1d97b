"""Puts the engine of an encoder together: a loaded model and its options become a core and what intake needs."""

import logging
from collections.abc import Callable, Sequence

from inference.engine import backend, memory, protocol
from inference.engine.encoder.batches import Waiting
from inference.engine.encoder.core import EncoderCore
from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job, Row
from inference.engine.encoder.load import pads_badly
from inference.engine.kinds import mismatch
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.options import EngineOptions, resolved
from inference.engine.output import Output
from inference.engine.reception import Prepared

log = logging.getLogger(__name__)

QUICK = 20_000
"""Characters that are tokenised while others wait: some ten milliseconds."""


class EncoderReception:
    """context: the tokens that a text may have of those that the model reads.  timeout: seconds, None for no limit."""

    def __init__(self, encoder: Encoder, context: Callable[[int], int], timeout: float | None) -> None:
        self._encoder = encoder
        self._context = context
        self._timeout = timeout

    def needs_time(self, request: protocol.Request) -> bool:
        match request:
            case protocol.Embed(inputs=texts):
                return sum(map(len, texts)) > QUICK
            case protocol.Rerank(query=query, documents=texts):
                return sum(len(query) + len(text) for text in texts) > QUICK
        return False

    def prepare(self, client: bytes, request: protocol.Request) -> Prepared:
        texts = self._encoder.read(request)
        assert isinstance(request, protocol.Embed | protocol.Rerank)
        context = self._context(self._encoder.context_length)
        for index, text in enumerate(texts):
            if len(text.ids) > context:
                raise self._encoder.too_long(self._encoder.place(request, index), len(text.ids), context)
        job = Job(request, client)
        job.rows = [Row(job, index, text) for index, text in enumerate(texts)]
        if self._timeout is not None:
            job.deadline = job.received + self._timeout
        return Prepared(job.prompt_tokens, [job])

    def share(self, client: bytes, texts: Sequence[protocol.SharedText]) -> list[tuple[int, ...]]:
        """Nothing: it has no prefix cache."""
        return []

    def count(self, request: protocol.Generate) -> int:
        raise mismatch(self._encoder.name, self._encoder.kind, request)


def assemble(encoder: Encoder, options: EngineOptions, output: Output) -> tuple[EncoderCore, EncoderReception]:
    """To be called by the thread that will run the core."""
    reason = "--deterministic" if options.deterministic else pads_badly(encoder)
    if reason:
        log.warning("%s: one text at a time: %s", encoder.name, reason)
    elif resolved(options).mode == "simple":
        reason = "--runtime-mode simple"
    core = EncoderCore(
        encoder,
        Waiting(options.prefill_chunk or backend.prefill_chunk(), 1 if reason else None),
        output,
        memory=MemoryMonitor(options, memory.reading),
        max_waiting=options.max_waiting,
        batching="single" if reason else "batched",
        batching_reason=reason,
    )
    shortest = options.effective_context_tokens
    reception = EncoderReception(
        encoder, lambda length: core.memory.context_limit(min(length, shortest or length)), options.timeout
    )
    return core, reception
