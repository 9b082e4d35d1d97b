"""What a block is called: the same name for the same content after the same beginning, and for nothing else."""

import struct
from hashlib import sha256
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.prefix.keys import Chain, chain, root

ROOT = root(model="tiny")
FIELDS = dict(model="m", revision="r", adapter="a", kv="k", salt="s", media="p")


def test_a_key_hashes_its_parent_and_the_tokens():
    made = chain(ROOT, range(100, 165), 32)
    first = sha256(ROOT + struct.pack("<32I", *range(100, 132))).digest()
    second = sha256(first + struct.pack("<32I", *range(132, 164))).digest()
    assert made.keys == [first, second]
    assert made.key_at(64) == second
    assert made.key_at(65) == sha256(second + struct.pack("<I", 164)).digest()
    assert made.key_at(0) == ROOT


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_the_root_counts(field):
    assert root(**FIELDS) != root(**{**FIELDS, field: "other"})


def test_no_two_lists_of_fields_hash_alike():
    splits = {("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")}
    roots = {root(model=a, revision=b) for a, b in splits} | {root(model=a, salt=b) for a, b in splits - {("abc", "")}}
    assert len(roots) == 7
    assert len({root(model=a, revision=b, adapter=c) for a, b, c in permutations("abc")}) == 6
    assert root(model="m", salt="s") == root(model="m", salt=b"s")


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70), st.lists(st.integers(1, 9)))
def test_extending_piece_by_piece_gives_the_same_chain(tokens, cuts):
    whole, pieces, done = chain(ROOT, tokens, 8), Chain(ROOT, 8), 0
    for cut in cuts:
        pieces.extend(tokens[done : done + cut])
        done += cut
    pieces.extend(tokens[done:])
    assert pieces.keys == whole.keys and len(pieces) == len(whole) == len(tokens)
    assert len(whole.keys) == len(tokens) // 8


def test_a_token_that_is_no_uint32_is_refused():
    for token in (-1, 2**32):
        with pytest.raises(OverflowError):
            chain(ROOT, [token], 8)


def test_a_picture_changes_the_keys_of_its_blocks_and_of_all_behind():
    tokens = [7] * 32
    plain = chain(ROOT, tokens, 8).keys
    one = chain(ROOT, tokens, 8, [(10, 18, b"cat")]).keys
    other = chain(ROOT, tokens, 8, [(10, 18, b"dog")]).keys
    assert one[0] == other[0] == plain[0]
    assert all(len({a, b, c}) == 3 for a, b, c in zip(one[1:], other[1:], plain[1:], strict=True))


def test_where_a_picture_lies_counts():
    tokens = [7] * 16
    spans = [(0, 8), (1, 8), (0, 7), (0, 9), (8, 16)]
    assert len({chain(ROOT, tokens, 8, [(a, b, b"cat")]).keys[1] for a, b in spans}) == len(spans)
    two = [(0, 4, b"cat"), (4, 8, b"dog")]
    assert chain(ROOT, tokens, 8, two).keys == chain(ROOT, tokens, 8, two[::-1]).keys


def test_a_picture_needs_tokens():
    for span in [(3, 3, b""), (4, 2, b""), (-1, 2, b"")]:
        with pytest.raises(ValueError, match="picture"):
            Chain(ROOT, 8, [span])


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.binary(max_size=2)), max_size=3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=24), spans)
def test_a_shorter_label_is_a_prefix_that_counts_its_tokens(tokens, media):
    made = chain(ROOT, tokens, 8, [(start, start + length, digest) for start, length, digest in media])
    for block in range(-(-len(tokens) // 8)):
        whole = made.label(block)
        for end in range(block * 8, min(len(tokens), block * 8 + 8) + 1):
            label = made.label(block, end)
            assert whole.startswith(label)
            assert made.tokens_within(block, len(label)) == end - block * 8
            for less in range(len(label)):
                assert made.tokens_within(block, less) <= end - block * 8
