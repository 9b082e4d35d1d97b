"""The table of engine options: flags, checks, the way to the database and back, and what they amount to."""

import argparse
import json
import re

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given as for_any

from inference.engine.__main__ import parse
from inference.engine.assembly import assemble
from inference.engine.model import load_model
from inference.engine.options import (
    FIELDS,
    OPTIONS_REFUSED,
    EngineOptions,
    OptionError,
    add_arguments,
    argv,
    changed,
    default_text,
    given,
    make,
    resolved,
)
from tests.support.engine_made import Recorder
from tests.support.models_made import make_model
from tests.support.server import ROOT

NEEDED = ["--model", "m", "--name", "n", "--endpoint", "ipc://e"]


def parsed(*words: str) -> EngineOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return make(given(vars(parser.parse_args(words))))


def test_without_flags_everything_is_at_its_default():
    assert parsed() == EngineOptions() == make({})
    assert argv(EngineOptions()) == [] and changed(EngineOptions()) == {}


def test_the_flags_are_as_agreed():
    """Other documents and other people's scripts name them."""
    flags = """
        --max-num-seqs --max-waiting --max-stall-ms --max-gather-ms --prefill-batch-size
        --completion-batch-size --prefill-chunk --stream-interval --max-tokens --runtime-mode
        --deterministic --cache-strategy --disable-prefix-cache --paged-cache-block-size --max-cache-blocks
        --cache-memory-mb --cache-memory-percent --ssd-cache-dir --ssd-cache-max-gb --kv-bits
        --no-shared-prefixes --default-temperature --default-top-p --default-top-k --default-min-p
        --default-repetition-penalty --default-presence-penalty --default-frequency-penalty
        --batch-divergence-monitor --batch-divergence-interval --batch-divergence-threshold
        --batch-divergence-action --memory-warn-threshold --memory-limit-threshold --memory-action
        --memory-monitor-interval --repetition-policy --timeout --effective-context-tokens
        --max-thinking-tokens --tool-call-parser --enable-auto-tool-choice --reasoning-parser
    """
    assert {field.flag for field in FIELDS.values()} == set(flags.split())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--max-num-seqs 8", "max_num_seqs", 8),
        ("--max-waiting 0", "max_waiting", 0),
        ("--max-stall-ms 50.5", "max_stall_ms", 50.5),
        ("--runtime-mode simple", "runtime_mode", "simple"),
        ("--deterministic", "deterministic", True),
        ("--kv-bits 4", "kv_bits", 4),
        ("--kv-bits none", "kv_bits", None),
        ("--max-cache-blocks none", "max_cache_blocks", None),
        ("--default-presence-penalty -1.5", "default_presence_penalty", -1.5),
        ("--default-temperature 0", "default_temperature", 0.0),
        ("--paged-cache-block-size 64", "paged_cache_block_size", 64),
        ("--timeout 900", "timeout", 900.0),
    ],
)
def test_a_flag_is_read(words, name, value):
    assert getattr(parsed(*words.split()), name) == value


def test_a_folder_is_stored_as_seen_from_where_it_was_given(tmp_path, monkeypatch):
    """The engine that gets it may run in another folder."""
    monkeypatch.chdir(tmp_path)
    assert parsed("--ssd-cache-dir", "blocks").ssd_cache_dir == str(tmp_path / "blocks")
    assert "~" not in parsed("--ssd-cache-dir", "~/blocks").ssd_cache_dir


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--max-num-seqs 0", "a whole number from 1 to 1024, not 0"),
        ("--max-num-seqs 1.5", "a whole number from 1 to 1024, not 1.5"),
        ("--max-num-seqs many", "a whole number from 1 to 1024, not many"),
        ("--max-num-seqs nan", "a whole number from 1 to 1024, not nan"),
        ("--max-num-seqs none", "a whole number from 1 to 1024, not none"),
        ("--max-stall-ms inf", "a number from 1 to 60000, not inf"),
        ("--max-cache-blocks 0", "a whole number from 1 to 100000000 or none, not 0"),
        ("--cache-memory-percent 0", "a number above 0 and at most 90, not 0"),
        ("--default-top-p 1.1", "a number above 0 and at most 1 or none, not 1.1"),
        ("--default-temperature nan", "a number from 0 to 2 or none, not nan"),
        ("--kv-bits 3", "one of none, 8, 4, not 3"),
        ("--runtime-mode fast", "one of auto, simple, batched, not fast"),
        ("--paged-cache-block-size 33", "one of 8, 16, 32, 64, 128, 256, not 33"),
    ],
)
def test_what_is_out_of_range_names_flag_and_range(words, says, capsys):
    """By the engine itself, with the exit code that its supervisor knows."""
    with pytest.raises(SystemExit) as ended:
        parse([*NEEDED, *words.split()])
    assert ended.value.code == OPTIONS_REFUSED
    last = capsys.readouterr().err.splitlines()[-1]
    assert words.split()[0] in last and says in last


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("--deterministic --runtime-mode batched", ["--deterministic", "--runtime-mode batched"]),
        ("--deterministic --default-temperature 0.7", ["--deterministic", "--default-temperature"]),
        ("--deterministic --cache-strategy paged", ["--deterministic", "--cache-strategy paged"]),
        ("--deterministic --kv-bits 8", ["--deterministic", "--kv-bits"]),
        ("--deterministic --batch-divergence-monitor", ["--deterministic", "--batch-divergence-monitor"]),
        (
            "--runtime-mode simple --batch-divergence-monitor",
            ["--runtime-mode simple", "--batch-divergence-monitor"],
        ),
        ("--disable-prefix-cache --cache-strategy paged", ["--disable-prefix-cache", "--cache-strategy paged"]),
        (
            "--disable-prefix-cache --cache-strategy memory-aware",
            ["--disable-prefix-cache", "--cache-strategy memory-aware"],
        ),
        ("--disable-prefix-cache --max-cache-blocks 9", ["--disable-prefix-cache", "--max-cache-blocks"]),
        ("--cache-strategy off --ssd-cache-dir /tmp", ["--cache-strategy off", "--ssd-cache-dir"]),
        ("--cache-strategy off --cache-memory-mb 9", ["--cache-strategy off", "--cache-memory-mb"]),
        ("--cache-memory-mb 9 --cache-memory-percent 9", ["--cache-memory-mb", "--cache-memory-percent"]),
        ("--ssd-cache-max-gb 5", ["--ssd-cache-max-gb", "--ssd-cache-dir"]),
        (
            "--batch-divergence-action serialize",
            ["--batch-divergence-action", "--batch-divergence-monitor"],
        ),
        (
            "--memory-warn-threshold 90",
            ["--memory-warn-threshold (90)", "--memory-limit-threshold (85)"],
        ),
        (
            "--memory-warn-threshold 50 --memory-limit-threshold 50",
            ["--memory-warn-threshold (50)", "--memory-limit-threshold (50)"],
        ),
    ],
)
def test_contradictions_name_both_flags(words, names, capsys):
    with pytest.raises(OptionError) as refused:
        parsed(*words.split())
    assert all(name in str(refused.value) for name in names), refused.value
    with pytest.raises(SystemExit):
        parse([*NEEDED, *words.split()])
    assert str(refused.value) in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--disable-prefix-cache --cache-strategy off",
        "--disable-prefix-cache --no-shared-prefixes",
        "--deterministic --runtime-mode simple --default-temperature 0 --default-top-p 1",
        "--deterministic --max-num-seqs 8",
        "--max-num-seqs 8 --completion-batch-size 32",
        "--cache-memory-mb 512 --max-cache-blocks 100",
        # The operator guide's profiles A, D, E and F, as far as they concern an engine.
        "--runtime-mode simple --cache-strategy auto --default-temperature 0.7 --default-top-p 0.9",
        "--runtime-mode simple --cache-strategy auto --default-temperature 0.0 --default-top-p 1.0",
        "--runtime-mode auto --cache-strategy auto --batch-divergence-monitor --batch-divergence-threshold 0.95"
        " --batch-divergence-action serialize",
        "--runtime-mode simple --timeout 900 --default-temperature 0.7 --default-top-p 0.9",
    ],
)
def test_these_go_together(words):
    options = parsed(*words.split())
    assert parsed(*argv(options)) == options


# --- to the database and back ----------------------------------------------------------------------------------------


def values_of(field):
    """Any value that this option may have."""
    if field.kind is bool:
        return st.booleans()
    if field.choices:
        some = st.sampled_from(field.choices)
    elif field.kind is int:
        some = st.integers(int(field.about.low), int(field.about.high))
    elif field.kind is float:
        some = st.floats(field.about.low, field.about.high, exclude_min=field.about.above_low)
    else:
        some = st.sampled_from(["/var/blocks", "/with space/and 'quotes'"])
    return st.none() | some if field.optional else some


@for_any(st.fixed_dictionaries({}, optional={name: values_of(field) for name, field in FIELDS.items()}))
def test_all_ways_lead_back(values):
    """Command line, JSON and msgpack each carry every option as it is; what contradicts itself aside."""
    try:
        options = make(values)
    except OptionError:
        return
    assert parsed(*argv(options)) == options
    assert make(json.loads(json.dumps(changed(options)))) == options
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(options), type=EngineOptions) == options
    effective = resolved(options)
    assert 1 <= effective.decode_rows <= effective.rows and 1 <= effective.prefill_rows <= effective.rows


def test_only_what_differs_is_stored():
    options = parsed("--max-num-seqs", "32", "--kv-bits", "8", "--runtime-mode", "auto")
    assert changed(options) == {"kv_bits": 8} and argv(options) == ["--kv-bits=8"]


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"kv_bits": 3}, "--kv-bits must be one of none, 8, 4, not 3."),
        ({"kv_bits": True}, "--kv-bits must be one of none, 8, 4, not True."),
        ({"max_num_seqs": []}, "--max-num-seqs must be a whole number from 1 to 1024, not []."),
        ({"max_num_seqs": None}, "--max-num-seqs must be a whole number from 1 to 1024, not None."),
        ({"deterministic": "yes"}, "--deterministic must be true or false, not yes."),
        ({"ssd_cache_dir": 7}, "--ssd-cache-dir must be a folder or none, not 7."),
        ({"ssd_cache_dir": " "}, "--ssd-cache-dir must be a folder or none"),
        ({"maximum": 7}, "maximum is no option of an engine."),
        (["kv_bits"], "names with values"),
    ],
)
def test_what_was_stored_wrongly_is_named(stored, says):
    with pytest.raises(OptionError) as refused:
        make(stored)
    assert says in str(refused.value)


# --- what they amount to ---------------------------------------------------------------------------------------------


def test_by_default_everything_runs_together():
    effective = resolved(EngineOptions())
    assert (effective.mode, effective.rows, effective.decode_rows, effective.prefill_rows) == ("batched", 32, 32, 8)
    assert not effective.greedy and effective.sampling == {}
    assert effective.prefix_cache and effective.shared_prefixes


def test_deterministic_is_simple_greedy_and_without_a_cache():
    effective = resolved(parsed("--deterministic", "--max-num-seqs", "8"))
    assert (effective.mode, effective.rows, effective.greedy, effective.prefix_cache) == ("simple", 1, True, False)


def test_simple_is_one_row_and_keeps_its_cache():
    effective = resolved(parsed("--runtime-mode", "simple"))
    assert (effective.mode, effective.rows, effective.decode_rows, effective.prefill_rows) == ("simple", 1, 1, 1)
    assert effective.prefix_cache and not effective.greedy


def test_fewer_rows_may_decode_than_run():
    assert resolved(parsed("--completion-batch-size", "4")).decode_rows == 4
    assert resolved(parsed("--completion-batch-size", "64")).decode_rows == 32


def test_defaults_of_sampling_are_those_that_were_given():
    effective = resolved(parsed("--default-temperature", "0", "--default-top-k", "40"))
    assert effective.sampling == {"temperature": 0.0, "top_k": 40}


def test_every_default_of_sampling_is_a_field_of_sampling():
    from inference.engine.protocol import Sampling

    names = {name.removeprefix("default_") for name in FIELDS if name.startswith("default_")}
    assert names <= set(Sampling.__struct_fields__)


@pytest.mark.parametrize(
    ("words", "blocks", "budget"),
    [
        ("", None, 200),
        ("--cache-memory-percent 50", None, 500),
        ("--cache-memory-mb 3", None, 3 * 2**20),
        ("--max-cache-blocks 7", 7, None),
        ("--max-cache-blocks 7 --cache-strategy memory-aware", 7, 200),
        ("--max-cache-blocks 7 --cache-memory-percent 50", 7, 500),
        ("--max-cache-blocks 7 --cache-memory-mb 3", 7, 3 * 2**20),
        ("--disable-prefix-cache", None, None),
    ],
)
def test_bounds_of_the_cache(words, blocks, budget):
    effective = resolved(parsed(*words.split()))
    assert (effective.cache_blocks, effective.cache_budget(1000)) == (blocks, budget)


# --- what is said of them --------------------------------------------------------------------------------------------


def test_every_option_is_documented_with_its_default_and_no_other():
    section = (ROOT / "docs/settings.md").read_text().split("## Engine options")[1].split("\n## ")[0]
    documented = dict(re.findall(r"^\| `(--[\w-]+)` \| (.+?) \|", section, re.M))
    wanted = {field.flag: "no" if field.kind is bool else default_text(field) for field in FIELDS.values()}
    assert {flag: default.replace("`", "") for flag, default in documented.items()} == wanted


def test_help_names_every_flag_and_default():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    for field in FIELDS.values():
        assert field.flag in text
        assert field.kind is bool or f"(default: {default_text(field)})" in text.replace("- ", "-")


def test_a_model_whose_keys_can_not_be_quantised_says_so(tmp_path):
    """Known only once the model is loaded: the engine ends, and names the flag."""
    folder = make_model(tmp_path / "narrow", head_dim=16)
    with pytest.raises(OptionError, match="--kv-bits 8: of narrow, keys and values 16 and 16 wide can't be quantised"):
        assemble(load_model(str(folder), "narrow"), make({"kv_bits": 8}), Recorder())  # type: ignore[arg-type]
