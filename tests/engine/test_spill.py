"""The SSD tier behind the prefix cache: what one engine has computed, the next one finds."""

import logging
from contextlib import contextmanager
from unittest import mock

import pytest

from inference.engine.kv import prefix
from tests.support.engine_made import Engine
from tests.support.models_made import KINDS, loaded, words

KIND = pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.family in ("gemma3", "falcon_h1") or kind.name in ("dense float32", "bfloat16")],
    ids=str,
)


@contextmanager
def engine_with(folder, model, **options):
    """An engine with a tier in this folder, which ends as an engine process does."""
    engine = Engine(model, ssd_cache_dir=str(folder), **options)
    # The cache's clock is the engine's own here: requests would seem to have waited for ages otherwise.
    with mock.patch.object(prefix, "perf_counter", lambda: engine.now), engine:
        yield engine
        engine.prefix.shut()


def files(folder):
    return [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size > 100]


@KIND
def test_after_a_restart_only_the_suffix_is_computed(tmp_path, kind):
    model = loaded(kind)
    common = [*words(1, 1299, model), min(model.end_tokens)]
    with engine_with(tmp_path, model) as engine:
        engine.ask([*common, *words(2, 20, model)], say=words(3, 4, model))
    with engine_with(tmp_path, model) as engine:
        (id,) = engine.ask([*common, *words(4, 20, model)], say=words(5, 4, model))
        found = 1300 // 32 * 32  # whole blocks
        assert engine.sequences[id].cached == found
        assert engine.core.books.prefill_tokens == 1319 - found
        assert engine.worst([id]) <= kind.tolerance


def test_blocks_that_had_to_go_come_back(tmp_path):
    model = loaded(KINDS[0])
    prompts = [words(seed, 200, model) for seed in range(6)]
    with engine_with(tmp_path, model, max_cache_blocks=12) as engine:
        for prompt in prompts:
            engine.ask(prompt, say=words(9, 3, model))
        ids = engine.ask(prompts[0], say=words(9, 3, model))
        assert engine.sequences[ids[0]].cached >= 192 - 32
        assert engine.worst(ids) <= KINDS[0].tolerance


def test_a_short_leaf_in_the_pool_and_the_whole_block_on_disk(tmp_path):
    """The leaf is filled further in place: what is read goes where whole blocks go."""
    model = loaded(KINDS[0])
    prompt = words(1, 150, model)
    with engine_with(tmp_path, model) as engine:
        engine.ask(prompt, say=words(9, 3, model))
    with engine_with(tmp_path, model) as engine:
        ids = engine.ask(prompt[:11], say=words(8, 1, model))
        ids += engine.ask([*prompt[:140], 5, 6], say=words(9, 3, model))
        assert engine.sequences[ids[1]].cached == 128
        assert engine.worst(ids) <= KINDS[0].tolerance


def test_a_corrupt_block_is_dropped_and_computed_again(tmp_path):
    model = loaded(KINDS[0])
    prompt = words(1, 300, model)
    with engine_with(tmp_path, model) as engine:
        engine.ask(prompt, say=words(9, 3, model))
    for file in files(tmp_path):
        content = bytearray(file.read_bytes())
        content[-100] ^= 0xFF
        file.write_bytes(content)
    with engine_with(tmp_path, model) as engine:
        ids = engine.ask(prompt, say=words(9, 3, model))
        assert engine.sequences[ids[0]].cached == 0
        assert engine.prefix.tier_counters()["corrupt"] > 0
        assert engine.worst(ids) <= KINDS[0].tolerance


def test_another_models_blocks_are_worth_nothing(tmp_path):
    model, other = loaded(KINDS[0]), loaded(KINDS[1])
    prompt = words(1, 100, model)
    with engine_with(tmp_path, model) as engine:
        engine.ask(prompt, say=words(9, 3, model))
    name, other.name = other.name, model.name
    try:
        with engine_with(tmp_path, other) as engine:
            ids = engine.ask(prompt, say=words(9, 3, other))
            assert engine.sequences[ids[0]].cached == 0
    finally:
        other.name = name


def test_a_folder_that_can_not_be_written_turns_the_tier_off(tmp_path, caplog):
    model = loaded(KINDS[0])
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING), engine_with(tmp_path / "file", model) as engine:
        ids = engine.ask(words(1, 100, model), say=words(9, 3, model))
        assert engine.output.ends[ids[0]]
    assert "--ssd-cache-dir" in caplog.text
