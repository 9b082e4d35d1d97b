"""What is cached of a prompt, one situation at a time."""

import pytest

from inference.engine.prefix.blocks import BlockIndex
from inference.engine.prefix.keys import chain, root
from inference.engine.prefix.records import Copy, Divergence

ROOT = root(model="tiny")
SIZE = 4


def of(*tokens, root=ROOT, media=()):
    return chain(root, list(tokens), SIZE, media)


def index(capacity=16, **more):
    return BlockIndex(SIZE, capacity, reserve=more.pop("reserve", 0), **more)


def cache(index, chain, start=0, end=None):
    insertion = index.insert(chain, start, end)
    index.commit(insertion)
    return insertion


def usable(index, *tokens):
    """How many of these are matched when there is one more to decode."""
    return index.match(of(*tokens, 99_999)).tokens


def test_what_was_inserted_is_found_to_the_token():
    blocks = index()
    insertion = cache(blocks, of(*range(10)))
    assert insertion.copies == [Copy(0, 0, 10)] and insertion.tokens == 10
    found = blocks.match(of(*range(10), 50, 51))
    assert found.tokens == 10 and found.blocks == [0, 1, 2] and found.tail == 2
    assert found.copies == [Copy(0, 0, 10)]
    assert blocks.match(of(*range(6), 50)).tokens == 6


def test_the_last_token_is_never_matched():
    blocks = index()
    cache(blocks, of(*range(8)))
    assert blocks.match(of(*range(8))).tokens == 7
    assert blocks.match(of(*range(8)), limit=5).tokens == 5
    assert blocks.match(of(*range(8)), limit=4).blocks == [0]
    assert blocks.match(of(0)).tokens == blocks.match(of()).tokens == 0


def test_a_block_after_another_beginning_is_another_block():
    x, y, z, w = [1] * SIZE, [2] * SIZE, [3] * SIZE, [4] * SIZE
    blocks = index()
    cache(blocks, of(*x, *y))
    cache(blocks, of(*z, *w))
    assert blocks.match(of(*z, *y, 9)).tokens == SIZE


def test_teams_do_not_share():
    blocks = index()
    cache(blocks, of(*range(8), root=root(model="tiny", salt="red")))
    assert blocks.match(of(*range(8), 9, root=root(model="tiny", salt="blue"))).tokens == 0


def test_another_picture_in_the_same_text():
    blocks, text = index(), [5] * 12
    cat, dog = [(5, 9, b"cat")], [(5, 9, b"dog")]
    cache(blocks, of(*text, media=cat))
    assert blocks.match(of(*text, 9, media=cat)).tokens == 12
    assert blocks.match(of(*text, 9, media=dog)).tokens == 5
    assert blocks.match(of(*text, 9)).tokens == 5


def test_a_picture_in_the_partly_filled_block():
    blocks = index()
    cache(blocks, of(1, 2, 3, media=[(1, 3, b"cat")]))
    assert blocks.match(of(1, 2, 3, 4, media=[(1, 3, b"cat")])).tokens == 3
    assert blocks.match(of(1, 2, 3, 4, media=[(1, 3, b"dog")])).tokens == 1


def test_of_many_siblings_the_closest_is_used():
    blocks = index(64)
    for i in range(40):
        cache(blocks, of(1, 2, i, i))
    assert blocks.match(of(1, 2, 17, 17, 5)).tokens == 4
    assert blocks.match(of(1, 2, 17, 18, 5)).tokens == 3
    assert blocks.match(of(1, 2, 50, 50, 5)).tokens == 2
    assert blocks.match(of(3, 2, 50, 50, 5)).tokens == 0


def test_a_hash_that_collides_is_a_miss():
    blocks = index()
    cache(blocks, of(1, 1, 1, 1, 2, 2, 2, 2))
    forged = of(1, 1, 1, 1, 3, 3, 3, 3, 4)
    forged.keys[1] = of(1, 1, 1, 1, 2, 2, 2, 2).keys[1]
    assert blocks.match(forged).tokens == 4


def test_a_leaf_is_filled_further_in_place():
    blocks = index()
    cache(blocks, of(*range(6)))
    insertion = cache(blocks, of(*range(15)), start=6)
    assert insertion.copies == [Copy(6, 6, 9)]
    assert blocks.match(of(*range(15), 50)).blocks == [0, 1, 2, 3]
    counts = blocks.counters()
    assert (counts.inserted, counts.extended, counts.deduplicated) == (4, 1, 0)


def test_a_leaf_is_filled_further_while_a_row_reads_it():
    blocks = index()
    cache(blocks, of(*range(6)))
    found = blocks.match(of(*range(6), 50))
    blocks.hold(found.blocks)
    assert cache(blocks, of(*range(8))).copies == [Copy(6, 6, 2)]
    assert cache(blocks, of(*range(6), 50, 51)).copies == [Copy(8, 4, 4)]
    blocks.release(found.blocks)


def test_the_same_twice_is_written_once():
    blocks = index()
    cache(blocks, of(*range(11)))
    insertion = cache(blocks, of(*range(11)))
    assert insertion.copies == [] and insertion.tokens == 11
    assert cache(blocks, of(*range(9))).copies == []
    assert blocks.counters().deduplicated == 4


def test_what_the_slot_does_not_hold_is_not_written():
    blocks = index()
    insertion = cache(blocks, of(*range(12)), start=5)
    assert insertion.copies == [] and insertion.shortfall == 3 and insertion.tokens == 0
    cache(blocks, of(*range(6)))
    assert cache(blocks, of(*range(12)), start=7).copies == []
    assert cache(blocks, of(*range(12)), start=6).tokens == 12
    with pytest.raises(ValueError, match="can't be cached"):
        blocks.insert(of(1, 2), 0, 3)


def test_nobody_matches_what_is_not_committed():
    blocks = index()
    cache(blocks, of(*range(6)))
    insertion = blocks.insert(of(*range(12)))
    assert blocks.match(of(*range(12), 50)).tokens == 6
    blocks.commit(insertion)
    assert blocks.match(of(*range(12), 50)).tokens == 12
    with pytest.raises(ValueError, match="already"):
        blocks.commit(insertion)


def test_a_failed_copy_leaves_what_was_there():
    blocks = index()
    cache(blocks, of(*range(6)))
    insertion = blocks.insert(of(*range(16)))
    blocks.abandon(insertion)
    assert blocks.match(of(*range(16), 50)).tokens == 6
    assert blocks.counters().blocks_used == 2
    assert cache(blocks, of(*range(16))).copies == [Copy(6, 6, 10)]


def test_a_second_plan_does_not_write_what_the_first_does():
    blocks = index()
    first = blocks.insert(of(*range(8)))
    second = blocks.insert(of(*range(12)))
    assert second.copies == [Copy(8, 8, 4)]
    blocks.commit(second)
    assert blocks.match(of(*range(12), 50)).tokens == 0
    blocks.commit(first)
    assert blocks.match(of(*range(12), 50)).tokens == 12


def test_what_hangs_on_an_abandoned_plan_goes_with_it():
    blocks = index()
    first = blocks.insert(of(*range(8)))
    second = blocks.insert(of(*range(12)))
    blocks.abandon(first)
    assert blocks.counters().blocks_used == 1, "the second still writes its block"
    blocks.commit(second)
    assert blocks.counters().blocks_used == 0
    assert blocks.match(of(*range(12), 50)).tokens == 0


def test_the_least_recently_used_goes_first_and_leaves_before_parents():
    blocks = index(6)
    cache(blocks, of(*[1] * 12))
    cache(blocks, of(*[2] * 12))
    assert usable(blocks, *[1] * 12) == 12
    insertion = cache(blocks, of(*[3] * 8))
    assert [gone.key for gone in insertion.evicted] == [of(*[2] * 12).keys[2], of(*[2] * 12).keys[1]]
    assert usable(blocks, *[1] * 12) == 12
    assert usable(blocks, *[2] * 12) == 4


def test_what_is_evicted_says_what_it_was():
    blocks = index(2)
    cache(blocks, of(1, 2, 3, 4, 5, 6))
    leaf, parent = blocks.evict(5)
    whole = of(1, 2, 3, 4, 5, 6)
    assert (leaf.number, leaf.key, leaf.parent, leaf.tokens) == (1, whole.key_at(6), whole.keys[0], 2)
    assert (parent.key, parent.parent, parent.label) == (whole.keys[0], ROOT, whole.label(0))
    assert blocks.evict(1) == []


def test_no_room_caches_what_fits():
    blocks = index(3)
    insertion = cache(blocks, of(*range(20)))
    assert insertion.tokens == 12 and insertion.shortfall == 2
    assert usable(blocks, *range(20)) == 12
    assert blocks.counters().insert_shortfall == 2


def test_making_room_never_takes_the_parent():
    blocks = index(3)
    cache(blocks, of(*range(12)))
    assert cache(blocks, of(*range(12), *range(50, 60))).tokens == 12
    assert usable(blocks, *range(12)) == 12


def test_held_blocks_stay():
    blocks = index(4)
    cache(blocks, of(*range(16)))
    blocks.hold([3])
    assert blocks.evict(9) == [], "its ancestors stay too"
    blocks.hold([3])
    assert blocks.counters().blocks_shared == 1
    blocks.release([3])
    blocks.release([3])
    with pytest.raises(ValueError, match="not held"):
        blocks.release([3])
    with pytest.raises(KeyError):
        blocks.hold([9])
    assert len(blocks.evict(9)) == 4


def test_pinned_prefixes_stay():
    blocks = index(6)
    prefix = of(*range(6))
    cache(blocks, of(*range(14)))
    assert blocks.pin(prefix) == 6
    cache(blocks, of(*[9] * 40))
    assert usable(blocks, *range(6)) == 6
    assert blocks.pin(prefix) == 6, "again: the same"
    assert blocks.unpin(prefix) and not blocks.unpin(prefix)
    blocks.evict(99)
    assert blocks.counters().blocks_used == 0


def test_clearing_forgets_and_waits_for_readers():
    blocks = index()
    cache(blocks, of(*range(8)))
    found = blocks.match(of(*range(8), 50))
    blocks.hold(found.blocks)
    blocks.pin(of(*range(8)))
    blocks.clear()
    assert usable(blocks, *range(8)) == 0
    insertion = cache(blocks, of(*range(60, 80)))
    assert not {c.position // SIZE for c in insertion.copies} & set(found.blocks)
    blocks.release(found.blocks)
    assert blocks.counters().blocks_used == 5


def test_a_conversation_lies_in_one_piece():
    blocks = index(64, reserve=1 / 4)
    for turn in range(2, 10):
        cache(blocks, of(*range(turn * 6)))
    assert len(blocks.match(of(*range(54), 99)).copies) == 1


def test_the_reserve_is_kept_free_of_a_full_pool():
    blocks = index(64, reserve=1 / 8)
    for i in range(20):
        cache(blocks, of(*[i] * 20))
    counts = blocks.counters()
    assert counts.blocks_total - counts.blocks_used == 8
    assert cache(index(64, reserve=1 / 8), of(*range(256))).shortfall == 0


def test_shrinking_moves_what_lies_beyond():
    blocks = index(8)
    cache(blocks, of(*[1] * 16))
    cache(blocks, of(*[2] * 16))
    usable(blocks, *[2] * 16)
    plan = blocks.shrink(5)
    assert plan.capacity == 5 and len(plan.evicted) == 3
    moves = dict(plan.moves)
    assert sorted(moves) == [5, 6, 7] and all(target < 5 for target in moves.values())
    assert blocks.match(of(*[2] * 16, 9)).blocks == [moves.get(b, b) for b in [4, 5, 6, 7]]


def test_shrinking_stops_at_a_block_that_is_read():
    blocks = index(8)
    cache(blocks, of(*range(32)))
    blocks.hold([6])
    assert blocks.shrink(2).capacity == 7
    insertion = blocks.insert(of(9, 9))
    with pytest.raises(ValueError, match="written"):
        blocks.shrink(2)
    blocks.abandon(insertion)


def test_growing():
    blocks = index(2)
    cache(blocks, of(*range(8)))
    blocks.grow(4)
    assert cache(blocks, of(*range(16))).tokens == 16 and blocks.capacity == 4


def test_counters_add_up():
    blocks = index(8, block_bytes=100)
    cache(blocks, of(*range(10)))
    blocks.match(of(*range(10), 50))
    blocks.match(of(77, 78))
    counts = blocks.counters()
    assert (counts.queries, counts.hits, counts.misses, counts.partial_hits) == (2, 1, 1, 1)
    assert (counts.tokens_asked, counts.tokens_saved) == (13, 10)
    assert (counts.blocks_total, counts.blocks_used, counts.bytes) == (8, 3, 300)
    blocks.peek(of(*range(10), 50))
    assert blocks.counters() == counts


def test_where_a_prompt_diverged():
    blocks = index()
    assert blocks.divergence(of(1, 2)) is None, "nothing is cached"
    cache(blocks, of(*range(20)))
    cache(blocks, of(*range(8), 90, 91))
    assert blocks.divergence(of(*range(20))) is None
    assert blocks.divergence(of(*range(25))) is None, "it only goes on"
    assert blocks.divergence(of(*range(10), 70, 71)) == Divergence(10, 12, lost=10)
    assert blocks.divergence(of(*range(8), 90, 70)) == Divergence(9, 10, lost=1)
    assert blocks.divergence(of(70)) == Divergence(0, 1, lost=20)


def test_states_are_found_at_their_exact_position():
    blocks = index(checkpoint_budget=100)
    text = of(*range(14))
    cache(blocks, text)
    for position in (4, 6, 13):
        assert blocks.attach(text, position, f"after {position}", 10) == []
    found = blocks.match(of(*range(14), 50), state=True)
    assert (found.tokens, found.checkpoint.payload, found.blocks) == (13, "after 13", [0, 1, 2, 3])
    assert blocks.match(of(*range(14), 50), limit=12, state=True).tokens == 6
    assert blocks.match(of(*range(6), 50), state=True).tokens == 6
    assert blocks.match(of(*range(5), 50), state=True).blocks == [0]
    assert blocks.match(of(*range(3), 50), state=True).tokens == 0


def test_a_state_serves_all_that_share_its_prefix():
    blocks = index(checkpoint_budget=100)
    cache(blocks, of(*range(6), 70))
    blocks.attach(of(*range(6), 70), 6, "system", 10)
    cache(blocks, of(*range(6), 80))
    blocks.evict(1)
    assert blocks.match(of(*range(6), 90), state=True).checkpoint.payload == "system"
    blocks.evict(1)
    assert blocks.counters().checkpoints == 0, "the last block that led to it is gone"


def test_states_without_blocks_or_room_are_refused():
    blocks = index(checkpoint_budget=25)
    text = of(*range(14))
    cache(blocks, text, end=8)
    assert [c.tokens for c in blocks.attach(text, 9, "no block", 10)] == [9]
    assert [c.tokens for c in blocks.attach(text, 0, "nothing", 10)] == [0]
    assert [c.tokens for c in blocks.attach(text, 8, "too large", 26)] == [8]
    for position in (8, 7):
        assert blocks.attach(text, position, "fits", 10) == []
    blocks.match(of(*range(8), 50), state=True)
    assert [c.tokens for c in blocks.attach(text, 5, "newer", 10)] == [7], "the least recently used"
    counts = blocks.counters()
    assert (counts.checkpoints, counts.checkpoint_bytes, counts.checkpoints_dropped) == (2, 20, 1)


def test_pinned_states_stay():
    blocks = index(checkpoint_budget=20)
    text = of(*range(8))
    cache(blocks, text)
    blocks.attach(text, 6, "pinned", 10)
    blocks.pin(text, 7)
    blocks.attach(text, 7, "second", 10)
    assert [c.payload for c in blocks.attach(text, 8, "third", 10)] == ["second"]
    assert [c.payload for c in blocks.attach(text, 5, "large", 11)] == ["large"]
    blocks.unpin(text, 7)
    assert len(blocks.attach(text, 5, "large", 20)) == 2


def test_states_leave_with_their_blocks():
    blocks = index(checkpoint_budget=100)
    text = of(*range(8))
    cache(blocks, text)
    blocks.attach(text, 8, "end", 10)
    (gone,) = blocks.evict(1)
    assert [c.payload for c in gone.checkpoints] == ["end"]
    assert (gone.checkpoints[0].key, gone.checkpoints[0].parent) == (text.keys[1], text.keys[1])
