"""The table: every option with its type, default, bounds and a line of help."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import msgspec


@dataclass(frozen=True, slots=True)
class About:
    """What the table says of an option beside its type and default."""

    group: str
    help: str
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """The lowest value itself is not allowed."""
    unset: str = ""
    """What holds while the option is not set."""
    is_folder: bool = False


BATCH = partial(About, "Batching")
MODE = partial(About, "Runtime mode")
CACHE = partial(About, "Prefix cache")
SAMPLING = partial(About, "Sampling, where a request names nothing (a request wins)")
MARKUP = partial(About, "Tools and reasoning")
DIVERGENCE = partial(About, "Batch divergence monitor")
MEMORY = partial(About, "Memory monitor")
LIMITS = partial(About, "Limits of a request")

BY_MODEL = "as the model's publishers recommend"
OF_MEMORY = "the memory for models: the recommended working set on Metal, elsewhere the machine's or container's"


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table. Make one with `make`, which checks; field `max_num_seqs` is flag `--max-num-seqs`."""

    max_num_seqs: Annotated[int, BATCH("requests that run at once", 1, 1024)] = 32
    max_waiting: Annotated[int, BATCH("requests that may queue; the next is refused", 0, 1_000_000)] = 1024
    max_stall_ms: Annotated[float, BATCH("milliseconds that a prefill may hold up decoding rows", 1, 60_000)] = 100.0
    max_gather_ms: Annotated[
        float,
        BATCH("milliseconds that the first answers wait for prompts that came with theirs; 0 is not at all", 0, 60_000),
    ] = 2000.0
    prefill_batch_size: Annotated[int, BATCH("prompts that prefill in one step", 1, 1024)] = 8
    completion_batch_size: Annotated[
        int | None, BATCH("rows that decode in one step", 1, 1024, unset="as many as --max-num-seqs")
    ] = None
    prefill_chunk: Annotated[
        int | None,
        BATCH(
            "tokens of prompts that one step prefills while no row decodes",
            64,
            1_048_576,
            unset="256 on a CPU, 2048 on a GPU",
        ),
    ] = None
    stream_interval: Annotated[int, BATCH("tokens per piece of a streamed answer", 1, 1024)] = 1

    runtime_mode: Annotated[
        Literal["auto", "simple", "batched"],
        MODE("simple runs one request at a time and queues the rest; auto is batched where the model allows it"),
    ] = "auto"
    deterministic: Annotated[
        bool, MODE("greedy, one request at a time, nothing taken from the prefix cache: equal requests, equal answers")
    ] = False

    cache_strategy: Annotated[
        Literal["auto", "paged", "memory-aware", "off"],
        CACHE("auto is paged; memory-aware keeps to the memory budget even where --max-cache-blocks allows more"),
    ] = "auto"
    disable_prefix_cache: Annotated[bool, CACHE("the same as --cache-strategy off")] = False
    paged_cache_block_size: Annotated[Literal[8, 16, 32, 64, 128, 256], CACHE("tokens per block")] = 32
    max_cache_blocks: Annotated[
        int | None, CACHE("blocks in the cache at most", 1, 100_000_000, unset="what the memory budget holds")
    ] = None
    cache_memory_mb: Annotated[
        int | None, CACHE("memory budget in MiB", 1, 100_000_000, unset="--cache-memory-percent")
    ] = None
    cache_memory_percent: Annotated[float, CACHE(f"memory budget in percent of {OF_MEMORY}", 0, 90, above_low=True)] = (
        20.0
    )
    ssd_cache_dir: Annotated[
        str | None, CACHE("a folder for evicted blocks, which survive a restart there", unset="no", is_folder=True)
    ] = None
    ssd_cache_max_gb: Annotated[
        float, CACHE("GiB of --ssd-cache-dir that may be used", 0, 1_000_000, above_low=True)
    ] = 20.0
    kv_bits: Annotated[
        Literal[8, 4] | None, CACHE("bits per number in the blocks; fewer hold more text and round it", unset="none")
    ] = None
    no_shared_prefixes: Annotated[
        bool, CACHE("rows copy a cached prefix instead of holding and reading it together")
    ] = False

    default_temperature: Annotated[float | None, SAMPLING("0 is greedy", 0, 2, unset=BY_MODEL)] = None
    default_top_p: Annotated[
        float | None, SAMPLING("draw from the likeliest tokens of this total", 0, 1, above_low=True, unset=BY_MODEL)
    ] = None
    default_top_k: Annotated[
        int | None, SAMPLING("draw from so many tokens; 0 is all", 0, 1_000_000, unset=BY_MODEL)
    ] = None
    default_min_p: Annotated[
        float | None, SAMPLING("drop tokens below this share of the likeliest one", 0, 1, unset=BY_MODEL)
    ] = None
    default_repetition_penalty: Annotated[
        float | None, SAMPLING("divides the logits of tokens seen", 0, 10, above_low=True, unset=BY_MODEL)
    ] = None
    default_presence_penalty: Annotated[
        float | None, SAMPLING("taken from the logits of tokens generated", -2, 2, unset="0")
    ] = None
    default_frequency_penalty: Annotated[
        float | None, SAMPLING("the same, for each time they were", -2, 2, unset="0")
    ] = None

    tool_call_parser: Annotated[
        str, MARKUP("how calls of tools are written; auto tells it from the chat template, none leaves them text")
    ] = "auto"
    enable_auto_tool_choice: Annotated[
        bool, MARKUP("nothing: models may always call tools; taken for the sake of other servers' command lines")
    ] = False
    reasoning_parser: Annotated[
        str, MARKUP("how thoughts are marked; auto tells it from the vocabulary, none leaves them text")
    ] = "auto"

    batch_divergence_monitor: Annotated[bool, DIVERGENCE("compares a probe alone and in a batch, again and again")] = (
        False
    )
    batch_divergence_interval: Annotated[float, DIVERGENCE("seconds between probes", 1, 86_400)] = 300.0
    batch_divergence_threshold: Annotated[
        float, DIVERGENCE("share of equal tokens below which the action follows", 0, 1, above_low=True)
    ] = 0.95
    batch_divergence_action: Annotated[
        Literal["warn", "serialize"], DIVERGENCE("serialize runs one request at a time until the probes agree again")
    ] = "warn"

    memory_warn_threshold: Annotated[float, MEMORY(f"percent in use at which it warns; of {OF_MEMORY}", 1, 100)] = 70.0
    memory_limit_threshold: Annotated[float, MEMORY("percent in use at which the action follows", 1, 100)] = 85.0
    memory_action: Annotated[
        Literal["warn", "reduce-context", "reject-new"],
        MEMORY("at the limit: log it, give new requests a shorter context, or refuse new requests"),
    ] = "warn"
    memory_monitor_interval: Annotated[float, MEMORY("seconds between readings", 0.1, 3600)] = 5.0

    max_tokens: Annotated[
        int | None,
        LIMITS(
            "most tokens of an answer whose request names no max_tokens",
            1, 100_000_000, unset="ATELIER_DEFAULT_MAX_TOKENS, 32768",
        ),
    ] = None  # fmt: skip
    timeout: Annotated[
        float | None,
        LIMITS("seconds that a request may take, waiting included", 1, 604_800, unset="ATELIER_TIMEOUT, 600"),
    ] = None
    effective_context_tokens: Annotated[
        int | None,
        LIMITS("tokens of prompt and answer together, if fewer than the model's", 1, 100_000_000, unset="the model's"),
    ] = None
    max_thinking_tokens: Annotated[
        int | None,
        LIMITS("most tokens of a thought whose request names no number; then it is closed", 0, 100_000_000, unset="no"),
    ] = None
    repetition_policy: Annotated[
        Literal["safe", "strict", "off"],
        LIMITS("ends an answer that goes round in circles: safe only unmistakable ones, strict sooner"),
    ] = "safe"
