"""Puts an engine together: a loaded model and its options become a Core."""

import logging
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import mlx.core as mx

from inference.engine import backend, memory
from inference.engine.batch import Batch
from inference.engine.core import Core, Monitors
from inference.engine.guidance.masks import GuideMasks
from inference.engine.kv import rotary
from inference.engine.kv.capacity import capacity_for
from inference.engine.kv.layout import Layout
from inference.engine.kv.prefix import Identity, PrefixCache
from inference.engine.kv.rows import Rows
from inference.engine.kv.selftest import Batching, decide, probe
from inference.engine.kv.solo import SoloStore
from inference.engine.kv.store import Store
from inference.engine.model import LoadedModel
from inference.engine.monitors.divergence import DivergenceMonitor
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.monitors.repetition import RepetitionMonitor
from inference.engine.options import Effective, EngineOptions, OptionError, resolved
from inference.engine.output import Output
from inference.engine.prefix.tier import Tier
from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.scheduler import Scheduler
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

MOST_BLOCKS = 1 << 20
"""Blocks of a cache whose blocks take no memory, as with models that keep states alone."""


def assemble(model: LoadedModel, options: EngineOptions, output: Output) -> Core:
    """To be called by the thread that will run the core."""
    effective = resolved(options)
    if not backend.has_gpu():
        rotary.install()
    batching = _batching(model, options)
    if batching.reason:
        log.warning("%s: %s", model.name, batching.reason)
    eye = model.sight.batched[1] if batching.layout and model.sight and model.sight.batched else None
    if eye is not None:
        # A part is a little shorter than the bound, for no time is known to the last.
        eye.pace.seconds = 0.7 * options.max_stall_ms / 1000
    pictures = eye.room.reserved if eye is not None else 0
    budget = memory.plan(effective, mx.get_active_memory() + pictures, memory.limit())
    largest = model.context_length + 2
    bytes_of = _bytes_of(batching, largest, eye.room.token if eye is not None else 0)
    ledger = Memory(budget.rows, bytes_of)
    if not ledger.fits_ever(model.context_length):
        log.warning("%s: its memory holds %d tokens of context at most", model.name, ledger.longest())
        model.context_length = min(model.context_length, max(1, ledger.longest()))
    prefix: Rows
    if batching.layout is None:
        prefix = Rows(SoloStore(model.model, largest=largest))
    else:
        store = Store(
            batching.layout,
            largest=largest,
            max_rows=effective.rows,
            grouped=batching.grouped,
            mixes=batching.mixed,
        )
        prefix = (
            _cache(model, store, options, effective, batching, budget.cache) if effective.prefix_cache else Rows(store)
        )
    rows = 1 if batching.layout is None else effective.rows
    scheduler: Scheduler[Sequence] = Scheduler(
        memory=ledger,
        max_rows=min(rows, effective.decode_rows),
        max_waiting=options.max_waiting,
        max_stall=options.max_stall_ms / 1000,
        max_gather=options.max_gather_ms / 1000,
        chunk=options.prefill_chunk or backend.prefill_chunk(),
        prefill_batch_size=effective.prefill_rows,
        mixed=prefix.store.mixes,
        cached=prefix.estimate,
        held=prefix.held,
        entering=prefix.entering,
    )
    batch = Batch(
        model.model,
        model.vocab,
        prefix.store,
        prefix,
        masks=GuideMasks(model.vocab),
        protected=tuple(sorted(model.end_tokens)),
    )
    return Core(
        batch,
        scheduler,
        output,
        end_tokens=model.end_tokens,
        monitors=_monitors(model, options, batching),
        batching="single" if rows == 1 else batching.name,
        eye=eye,
        batching_reason=batching.reason or ("--runtime-mode simple" if effective.mode == "simple" else ""),
    )


def _batching(model: LoadedModel, options: EngineOptions) -> Batching:
    """How the model is served. One that sees has to pass two tests, of its texts and of its pictures."""
    model.run(batched=True)
    sight = model.sight
    if options.deterministic:
        batching = Batching(None, reason="--deterministic")
    elif sight is not None and sight.batched is None:
        batching = Batching(None, reason=sight.reason)
    else:
        batching = decide(model.model)
        if sight is not None and batching.layout is not None:
            # Seconds of imports, for these models only.
            from inference.engine.vision.selftest import doubt

            if reason := doubt(model, batching):
                batching = Batching(None, reason=reason)
    model.run(batched=batching.layout is not None)
    return batching


def _monitors(model: LoadedModel, options: EngineOptions, batching: Batching) -> Monitors:
    interval = options.batch_divergence_interval if options.batch_divergence_monitor else None
    layout = batching.layout
    return Monitors(
        memory=MemoryMonitor(options, memory.reading),
        repetition=RepetitionMonitor(options.repetition_policy),
        divergence=DivergenceMonitor(interval, options.batch_divergence_threshold, options.batch_divergence_action),
        prober=None if layout is None or interval is None else lambda: probe(model.model, layout, batching.grouped),
    )


def _bytes_of(batching: Batching, largest: int, features: int) -> Callable[[int], int]:
    """features: bytes that a token may hold beside its keys and values, should it be a picture's."""
    layout = batching.layout
    if layout is None:
        return lambda tokens: 0
    return lambda tokens: layout.row_bytes(capacity_for(min(tokens, largest), largest)) + tokens * features


def _cache(
    model: LoadedModel, store: Store, options: EngineOptions, effective: Effective, batching: Batching, budget: int
) -> Rows:
    """A paged cache within so many bytes."""
    layout = store.layout
    block = options.paged_cache_block_size
    # Models with states hold checkpoints as well, and for some of them these are all there is.
    states = budget if layout.states and not layout.token_bytes else budget // 2 if layout.states else 0
    blocks = (budget - states) // (block * layout.token_bytes) if layout.token_bytes else MOST_BLOCKS
    blocks = min(blocks, effective.cache_blocks or blocks)
    if blocks < 1:
        log.warning("%s: the prefix cache's budget of %d MiB holds no block, so it is off", model.name, budget >> 20)
        return Rows(store)
    try:
        return _paged(model, store, options, batching, effective, blocks, states)
    except ValueError as error:
        raise OptionError(f"--kv-bits {options.kv_bits}: of {model.name}, {error}.") from error


def _paged(
    model: LoadedModel,
    store: Store,
    options: EngineOptions,
    batching: Batching,
    effective: Effective,
    blocks: int,
    states: int,
) -> PrefixCache:
    """Raises ValueError where keys and values are not of a width that can be quantised."""
    return PrefixCache(
        store,
        Identity(model.fingerprint),
        block=options.paged_cache_block_size,
        max_blocks=blocks,
        state_bytes=states,
        share=batching.shared and effective.shared_prefixes,
        tier=_tier(model, options, store.layout),
        bits=options.kv_bits,
        turn_ends=model.end_tokens,
    )


def _tier(model: LoadedModel, options: EngineOptions, layout: Layout) -> Tier | None:
    """The SSD tier in a folder of the model's own: models take turns in nobody's."""
    if options.ssd_cache_dir is None:
        return None
    # Blocks fit only the same weights, stored in the same way.
    kind = f"{model.fingerprint} {options.kv_bits or 16} {options.paged_cache_block_size} {layout.leaves}"
    folder = Path(options.ssd_cache_dir) / re.sub(r"[^\w.-]", "_", model.name)
    return Tier(folder, int(options.ssd_cache_max_gb * 2**30), sha256(kind.encode()).digest())
