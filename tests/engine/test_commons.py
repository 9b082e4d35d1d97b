"""Beginnings of prompts that are everybody's: shared to the token, and not a token beyond."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.commons import NO_COMMONS, SLACK, Commons
from inference.engine.kv.prefix import EVERYBODY, KEPT_SHARE
from inference.engine.prefix.blocks import BlockIndex
from inference.engine.prefix.keys import Chain, root
from inference.engine.prepare import prepare
from inference.engine.protocol import Generate, SharedText
from tests.engine.test_gates_cache import KIND, named
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, loaded, words

TEXT = "You are the assistant of the whole house. Be brief, be kind, and answer in the language of the question."
OWN = " And never mention the merger with the other house."
SIZE = 4


@pytest.fixture(scope="module")
def model():
    return loaded(KINDS[0])


def chat(system: str, **fields):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Hello!"}]
    return Generate(id="x", messages=messages, **fields)


def shared(request: Generate, model, commons: Commons) -> str:
    """The text of what everybody may share."""
    (sequence,) = prepare(b"c", request, model, None, commons).sequences
    return str(model.tokenizer.decode(sequence.prompt[: sequence.shared]))


def test_what_begins_with_the_text_shares_it_and_nothing_of_what_follows(model):
    commons = Commons.of([SharedText(TEXT)], model)
    for request in (chat(TEXT), chat(TEXT + OWN), Generate(id="x", prompts=[TEXT + OWN])):
        said = shared(request, model, commons)
        assert TEXT[:-8] in said, "but for what merges with the text behind it"
        assert "merger" not in said and "And" not in said and "Hello" not in said
    assert commons.kept == ()
    assert Commons.of([SharedText(TEXT, pinned=True)], model).kept == commons.prefixes


def test_what_does_not_begin_with_it_shares_nothing(model):
    commons = Commons.of([SharedText(TEXT)], model)
    others = (chat(TEXT[: len(TEXT) // 2] + OWN), chat("X" + TEXT), chat(OWN), Generate(id="x", prompts=[OWN + TEXT]),
              Generate(id="x", messages=[{"role": "user", "content": TEXT}]))  # fmt: skip
    for request in others:
        assert shared(request, model, commons) == ""
    assert shared(chat(TEXT), model, NO_COMMONS) == ""
    assert NO_COMMONS.within([]) == commons.within([]) == 0


def test_the_longest_of_several(model):
    commons = Commons.of([SharedText(TEXT), SharedText(TEXT + OWN)], model)
    assert "merger" in shared(chat(TEXT + OWN), model, commons)
    assert "merger" not in shared(chat(TEXT + " Else."), model, commons)


@pytest.mark.parametrize("text", ["", "a", "\ud800 broken", "<|im_end|>" * 3])
def test_texts_that_make_no_sense_harm_nobody(model, text):
    commons = Commons.of([SharedText(text), SharedText(TEXT)], model)
    assert TEXT[:-8] in shared(chat(TEXT), model, commons)


def test_it_is_in_no_log():
    assert "assistant" not in repr(SharedText(TEXT)) and str(len(TEXT)) in repr(SharedText(TEXT))


# --- The index -----------------------------------------------------------------------------------------------------

COMMON = root(model="tiny", salt=EVERYBODY)
TOKENS = st.lists(st.integers(0, 2), max_size=14)


def of(tokens: list[int], common: list[int], salt: str) -> tuple[Chain, int]:
    """The chain of a prompt, and how many of its tokens are everybody's; as the engine makes them."""
    length = Commons((tuple(common),), ()).within(tokens) if len(common) > SLACK else 0
    own = Chain(root(model="tiny", salt=salt), SIZE)
    chain = Chain(COMMON, SIZE, own=(length, salt.encode())) if length else own
    chain.extend(tokens)
    return chain, length


def alike(one: list[int], other: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(max_examples=400, deadline=None)
@given(
    common=TOKENS,
    prompts=st.lists(st.tuples(st.booleans(), TOKENS, st.sampled_from("ab")), min_size=1, max_size=8),
    asked=st.tuples(st.booleans(), TOKENS, st.sampled_from("ab")),
)
def test_another_salt_never_finds_more_than_what_is_everybodys(common, prompts, asked):
    index = BlockIndex(SIZE, 64, block_bytes=10, checkpoint_budget=0, reserve=0.0)
    known = []
    for begins, rest, salt in prompts:
        tokens = common + rest if begins else rest
        chain, length = of(tokens, common, salt)
        index.commit(index.insert(chain))
        known.append((tokens, length, salt))
    tokens = [*(common if asked[0] else []), *asked[1], 9]
    chain, length = of(tokens, common, asked[2])
    found = index.match(chain).tokens
    reach = [
        alike(tokens, theirs) if salt == asked[2] and (length == own or not (length and own)) else 0
        for theirs, own, salt in known
        if bool(own) == bool(length)
    ]
    everybodys = [min(alike(tokens, theirs), length, own) for theirs, own, _ in known if own and length]
    assert found == max([0, *reach, *everybodys])
    parted = index.divergence(chain)
    # Where its own part begins, nobody learns how much of others' lies behind.
    assert parted is None or parted.token != length or not length


def test_two_salts_part_within_a_block_and_at_its_end():
    for length in range(3, 10):
        common = list(range(length))
        index = BlockIndex(SIZE, 64, block_bytes=10, checkpoint_budget=0, reserve=0.0)
        prompt = [*common, *range(50, 70)]
        mine, _ = of(prompt, common, "a")
        index.commit(index.insert(mine))
        theirs, own = of(prompt, common, "b")
        assert (index.match(theirs).tokens, own) == (length, length)
        again, _ = of([*prompt, 1], common, "a")
        assert index.match(again).tokens == len(prompt)


# --- The engine ----------------------------------------------------------------------------------------------------


@KIND
def test_gates_2_teams_share_a_beginning_and_not_what_follows(request, kind):
    """The same logits as without; another team computes its own part, though another's is just that."""
    model = loaded(kind)
    common, own, say = words(1, 150, model), words(2, 60, model), words(3, 4, model)
    prompt = [*common, *own]
    with MATRIX.cell(request, kind, "2 everybody's") as cell, Engine(model) as engine:
        ids = []
        for salt in ("one", "two", "one", "two"):
            id = engine.submit(prompt, say=say, salt=salt)
            engine.sequences[id].shared = len(common)
            engine.finish()
            ids.append(id)
        # A window this narrow has forgotten the beginning of the block that the teams part in: the second team's can't
        # be written.
        again = 150 if kind.name == "windows (gemma3)" else 209
        assert [engine.sequences[id].cached for id in ids] == [0, 150, 209, again]
        alone = engine.ask(prompt, say=say, salt="one")
        assert engine.sequences[alone[0]].cached == 0, "what was not everybody's then is not now"
        cell.within(engine.worst([*ids, *alone]), kind.tolerance)


@pytest.mark.parametrize("kind", ["dense float32"])
def test_a_kept_beginning_outlives_all_others(kind):
    model = loaded(named(kind))
    common = words(1, 100, model)
    with Engine(model, max_cache_blocks=16) as engine:

        def ask(number: int) -> int:
            id = engine.submit([*common, *words(number, 20, model)], say=words(3, 2, model), salt=f"team {number}")
            engine.sequences[id].shared = len(common)
            engine.finish()
            cached: int = engine.sequences[id].cached
            return cached

        def others() -> None:
            for number in range(8):
                engine.ask(words(100 + number, 300, model), say=words(3, 2, model))

        assert ask(10) == 0
        others()
        assert ask(11) == 0, "gone, for nobody keeps it"
        engine.prefix.keep(b"gateway", [tuple(common)])
        assert ask(12) == 100
        others()
        assert ask(13) == 100
        # Another gateway wants it as well; it may go when none does.
        engine.prefix.keep(b"another", [tuple(common)])
        engine.prefix.keep(b"gateway", [])
        others()
        assert ask(14) == 100
        engine.prefix.keep(b"another", [])
        others()
        assert ask(15) == 0


def test_what_is_kept_leaves_room_for_others():
    model = loaded(named("dense float32"))
    blocks = 8
    long = words(1, int(blocks * 32 * KEPT_SHARE) + 40, model)
    with Engine(model, max_cache_blocks=blocks) as engine:
        engine.prefix.keep(b"gateway", [tuple(long)])
        id = engine.submit([*long, 5], say=words(3, 2, model))
        engine.sequences[id].shared = len(long)
        engine.finish()
        engine.ask(words(9, 200, model), say=words(3, 2, model))
        counters = engine.prefix.counters()
        assert counters.blocks_evictable == counters.blocks_used > 0
