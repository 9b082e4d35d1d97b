"""What options amount to, once modes and unset ones are resolved."""

from typing import Literal

import msgspec
from msgspec import structs

from inference.engine.options.fields import FIELDS
from inference.engine.options.table import EngineOptions


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """What options amount to, once modes and unset ones are resolved."""

    mode: Literal["simple", "batched"]
    rows: int
    """Requests that run at once, prefilling or decoding: 1 in simple mode, whatever --max-num-seqs says."""
    decode_rows: int
    """At most `rows`."""
    prefill_rows: int
    """At most `rows`."""
    greedy: bool
    """Every request is greedy, whatever temperature it asks for. Penalties and biases still apply."""
    sampling: dict[str, float]
    """The operator's defaults by field of `protocol.Sampling`. A request wins over them, they over the model's own."""
    prefix_cache: bool
    cache_blocks: int | None
    """Blocks at most; None: as many as the budget holds."""
    cache_bytes: int | None
    """The budget in bytes, where it is given so."""
    cache_share: float | None
    """The budget as a share of the memory for models. Without both, only `cache_blocks` bounds the cache."""
    shared_prefixes: bool

    def cache_budget(self, memory_bytes: int) -> int | None:
        """Bytes that the prefix cache may take where models have `memory_bytes`; None: as `cache_blocks` says."""
        if self.cache_bytes is not None:
            return self.cache_bytes
        return None if self.cache_share is None else int(memory_bytes * self.cache_share)


def resolved(options: EngineOptions) -> Effective:
    """What these options amount to.

    - `--deterministic` is simple mode, greedy, and no prefix cache: what is cached was computed in other chunks,
      and so rounded differently.
    - Simple mode is one row, whatever the batch sizes say.
    - The cache's bounds are upper bounds, and the smaller one counts. The budget in percent gives way to the
      budget in MiB, and without either of them `--max-cache-blocks` alone decides, but not under memory-aware.
    """
    mode: Literal["simple", "batched"] = (
        "simple" if options.deterministic or options.runtime_mode == "simple" else "batched"
    )
    rows = 1 if mode == "simple" else options.max_num_seqs
    cached = not (options.deterministic or options.disable_prefix_cache or options.cache_strategy == "off")
    by_percent = options.cache_memory_mb is None and (
        options.max_cache_blocks is None
        or options.cache_strategy == "memory-aware"
        or options.cache_memory_percent != FIELDS["cache_memory_percent"].default
    )
    return Effective(
        mode=mode,
        rows=rows,
        decode_rows=min(rows, options.completion_batch_size or rows),
        prefill_rows=min(rows, options.prefill_batch_size),
        greedy=options.deterministic,
        sampling={
            name.removeprefix("default_"): value
            for name, value in structs.asdict(options).items()
            if name.startswith("default_") and value is not None
        },
        prefix_cache=cached,
        cache_blocks=options.max_cache_blocks if cached else None,
        cache_bytes=options.cache_memory_mb * 2**20 if cached and options.cache_memory_mb else None,
        cache_share=options.cache_memory_percent / 100 if cached and by_percent else None,
        shared_prefixes=not options.no_shared_prefixes,
    )
