"""From values to options: each is of its kind and in its range, and no two contradict each other."""

from collections.abc import Mapping
from typing import Any

from inference.engine.options.effective import resolved
from inference.engine.options.fields import FIELDS, OptionError, changed, plain
from inference.engine.options.table import EngineOptions


def make(values: Mapping[str, Any]) -> EngineOptions:
    """Options with these values, from a command line or from stored JSON, and defaults. Raises OptionError."""
    if not isinstance(values, Mapping):
        raise OptionError(f"The options of an engine are names with values, not {values}.")
    read = {}
    for name, value in values.items():
        field = FIELDS.get(name)
        if field is None:
            raise OptionError(f"{name} is no option of an engine.")
        try:
            read[name] = field.read(value)
        except OptionError as error:
            raise OptionError(f"{field.flag} {error}.") from None
    options = EngineOptions(**read)
    _check_together(options)
    return options


def _check_together(options: EngineOptions) -> None:
    """Raises OptionError for the first two options that can't both be meant."""
    if options.deterministic:
        if options.runtime_mode == "batched":
            raise OptionError("--deterministic runs one request at a time, --runtime-mode batched does not. Drop one.")
        if options.default_temperature:
            raise OptionError("--deterministic is greedy, --default-temperature above 0 is not. Drop one.")
        if options.cache_strategy in ("paged", "memory-aware"):
            raise OptionError(
                f"--deterministic takes nothing from the prefix cache, so --cache-strategy {options.cache_strategy} "
                "would do nothing. Drop one."
            )
    if options.batch_divergence_monitor:
        simple = "--deterministic" if options.deterministic else "--runtime-mode simple"
        if resolved(options).mode == "simple":
            raise OptionError(f"--batch-divergence-monitor has no batch to watch under {simple}. Drop one.")
    else:
        _check_needed(options, "batch_divergence_", "--batch-divergence-monitor")
    if options.disable_prefix_cache and options.cache_strategy in ("paged", "memory-aware"):
        raise OptionError(
            f"--disable-prefix-cache and --cache-strategy {options.cache_strategy} contradict each other. Drop one."
        )
    if not resolved(options).prefix_cache:
        off = next(
            flag
            for flag, is_set in (
                ("--disable-prefix-cache", options.disable_prefix_cache),
                ("--cache-strategy off", options.cache_strategy == "off"),
                ("--deterministic", options.deterministic),
            )
            if is_set
        )
        for name in ("max_cache_blocks", "cache_memory_mb", "cache_memory_percent", "ssd_cache_dir", "kv_bits"):
            if name in changed(options):
                raise OptionError(f"{FIELDS[name].flag} means nothing without a prefix cache ({off}). Drop one.")
    if options.cache_memory_mb is not None and "cache_memory_percent" in changed(options):
        raise OptionError("--cache-memory-mb and --cache-memory-percent both set the cache's budget. Drop one.")
    if options.ssd_cache_dir is None:
        _check_needed(options, "ssd_cache_", "--ssd-cache-dir")
    if options.memory_warn_threshold >= options.memory_limit_threshold:
        raise OptionError(
            f"--memory-warn-threshold ({plain(options.memory_warn_threshold)}) must be below "
            f"--memory-limit-threshold ({plain(options.memory_limit_threshold)})."
        )


def _check_needed(options: EngineOptions, prefix: str, needed: str) -> None:
    """Raises OptionError when an option of this prefix is set and would do nothing without another."""
    for name in changed(options):
        if name.startswith(prefix):
            raise OptionError(f"{FIELDS[name].flag} does nothing without {needed}. Add it, or drop both.")
