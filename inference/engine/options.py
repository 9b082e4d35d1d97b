"""The options of an engine: one table from which flags, checks, stored settings and command lines come.

`python -m inference.engine` and `atelier serve` take the same flags. What `serve` was given is stored with the model
and comes back here to be checked again, so every message names the flag that an operator would have to change.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import structs

OPTIONS_REFUSED = 2
"""An engine's exit code for a command line that it can't follow, as argparse has it. Trying again won't help."""

NONE = "none"
"""On the command line, the value of an option that is not set."""


class OptionError(ValueError):
    """An option has an impossible value, or two contradict each other; the message names their flags."""


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


@dataclass(frozen=True, slots=True)
class Field:
    """A row of the table, as the rest of this module uses it."""

    name: str
    kind: type
    """int, float, bool or str; of `choices` the type that they have."""
    choices: tuple[int | str, ...]
    optional: bool
    default: Any
    about: About

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """What the value must be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            words = "one of " + ", ".join(map(str, (*([NONE] if self.optional else []), *self.choices)))
        else:
            noun = {int: "a whole number", float: "a number", str: "a folder" if self.about.is_folder else "text"}
            words = f"{noun[self.kind]}{self._range}{f' or {NONE}' if self.optional else ''}"
        return words

    @property
    def _range(self) -> str:
        low, high = self.about.low, self.about.high
        if math.isinf(low) and math.isinf(high):
            return ""
        return (
            f" above {low:g} and at most {_plain(high)}" if self.about.above_low else f" from {low:g} to {_plain(high)}"
        )

    def read(self, value: Any) -> Any:
        """A value from a command line (text) or from JSON, as the struct wants it. Raises OptionError without a flag:
        the caller knows where the value stood."""
        if self.optional and value in (None, NONE):
            return None
        parsed = self._parse(value)
        if parsed is None or (self.choices and parsed not in self.choices):
            raise OptionError(f"must be {self.allowed}, not {value}")
        if not self.choices and self.kind in (int, float):
            low_enough = parsed <= self.about.high
            high_enough = parsed > self.about.low if self.about.above_low else parsed >= self.about.low
            if not (low_enough and high_enough):
                raise OptionError(f"must be {self.allowed}, not {value}")
        return parsed

    def _parse(self, value: Any) -> Any:
        """The value in this option's type; None for what is of another."""
        if self.kind is bool:
            return value if isinstance(value, bool) else None
        if self.kind is str:
            if not isinstance(value, str) or not value.strip():
                return None
            return str(Path(value).expanduser().resolve()) if self.about.is_folder else value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except ValueError:
            return None
        if self.kind is float:
            return number
        return int(number) if number.is_integer() else None


def _fields() -> dict[str, Field]:
    hints = get_type_hints(EngineOptions, include_extras=True)
    fields = {}
    for field in structs.fields(EngineOptions):
        hint, about = get_args(hints[field.name])
        kinds = [kind for kind in (get_args(hint) if NoneType in get_args(hint) else (hint,)) if kind is not NoneType]
        choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
        kind = type(choices[0]) if choices else kinds[0]
        optional = NoneType in get_args(hint)
        fields[field.name] = Field(field.name, kind, choices, optional, field.default, about)
    return fields


FIELDS: dict[str, Field] = _fields()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every flag, by groups. A flag that is not given leaves no trace in the namespace: see `given`."""
    groups: dict[str, Any] = {}
    for field in FIELDS.values():
        group = groups.get(field.about.group)
        if group is None:
            group = groups[field.about.group] = parser.add_argument_group(field.about.group)
        text = field.about.help.replace("%", "%%")
        if field.kind is bool:
            group.add_argument(field.flag, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        words = (*([NONE] if field.optional else []), *field.choices)
        group.add_argument(
            field.flag,
            type=partial(_read_argument, field),
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(map(str, words)) + "}" if field.choices else _METAVARS[field.kind],
            help=f"{text} (default: {default_text(field)})",
        )


_METAVARS = {int: "N", float: "X", str: "FOLDER"}


def default_text(field: Field) -> str:
    """What holds where the flag is not given, in words."""
    return field.about.unset if field.default is None else _plain(field.default)


def given(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parsed arguments that are engine options and were on the command line."""
    return {name: namespace[name] for name in FIELDS if name in namespace}


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


def changed(options: EngineOptions) -> dict[str, Any]:
    """What differs from the defaults; all that is worth storing. JSON-ready, and `make` reads it back."""
    values = structs.asdict(options)
    return {name: values[name] for name, field in FIELDS.items() if values[name] != field.default}


def argv(options: EngineOptions) -> list[str]:
    """The shortest command line that means these options."""
    words: list[str] = []
    for name, value in changed(options).items():
        # In one word: argparse takes a negative number with an exponent for a flag.
        words.append(FIELDS[name].flag if value is True else f"{FIELDS[name].flag}={_plain(value)}")
    return words


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
            f"--memory-warn-threshold ({_plain(options.memory_warn_threshold)}) must be below "
            f"--memory-limit-threshold ({_plain(options.memory_limit_threshold)})."
        )


def _check_needed(options: EngineOptions, prefix: str, needed: str) -> None:
    """Raises OptionError when an option of this prefix is set and would do nothing without another."""
    for name in changed(options):
        if name.startswith(prefix):
            raise OptionError(f"{FIELDS[name].flag} does nothing without {needed}. Add it, or drop both.")


def _read_argument(field: Field, text: str) -> Any:
    try:
        return field.read(text)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _plain(value: Any) -> str:
    """A value as one would type it: 70 and not 70.0, 1000000 and not 1e+06."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return NONE if value is None else str(value)
