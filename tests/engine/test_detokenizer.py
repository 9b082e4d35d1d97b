"""Streamed text is whole characters and joins to what all tokens decode to at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.text.detokenizer import REPLACEMENT, Detokenizer
from tests.support.tokenizers_made import byte_fallback, byte_level, metaspace

TOKENIZERS = {"byte-level": byte_level(), "metaspace": metaspace(), "byte-fallback": byte_fallback()}
RUST_OR_NOT = ["rust", "generic"]


def pieces_of(tokenizer, ids, how):
    detokenizer = Detokenizer(tokenizer)
    if how == "generic":
        # The path of tokenizers that are not Rust's.
        detokenizer._rust = None
    return [*(detokenizer.step(token) for token in ids), detokenizer.flush()]


@pytest.mark.parametrize("how", RUST_OR_NOT)
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_pieces_join_to_the_whole(kind, how, text):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces_of(tokenizer, ids, how)) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("how", RUST_OR_NOT)
@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_a_character_is_never_split(kind, how):
    tokenizer = TOKENIZERS[kind]
    text = "so 🦄 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) > len(text), "the case is pointless when every character is one token"
    pieces = pieces_of(tokenizer, ids, how)
    assert not any(REPLACEMENT in piece for piece in pieces)
    assert "".join(pieces) == text


@pytest.mark.parametrize("how", RUST_OR_NOT)
@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_an_answer_cut_inside_a_character_shows_that(kind, how):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode("a🦄", add_special_tokens=False)[:-1]
    pieces = pieces_of(tokenizer, ids, how)
    assert "".join(pieces[:-1]) == "a"
    assert set(pieces[-1]) == {REPLACEMENT}


@pytest.mark.parametrize("how", RUST_OR_NOT)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_are_left_out(kind, how):
    tokenizer = TOKENIZERS[kind]
    words = tokenizer.encode("over the lazy", add_special_tokens=False)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    text = "".join(pieces_of(tokenizer, [words[0], end, *words[1:], end], how))
    assert "im_end" not in text
    assert text == tokenizer.decode(words)


@pytest.mark.parametrize("how", RUST_OR_NOT)
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(ids=st.lists(st.integers(0, 600), max_size=30))
@settings(max_examples=150, deadline=None)
def test_rubbish_does_not_harm_what_follows(kind, how, ids):
    """A model may say anything: invalid UTF-8, lone bytes, special tokens in the middle."""
    tokenizer = TOKENIZERS[kind]
    ids = ids + tokenizer.encode("again and again, over the lazy dog", add_special_tokens=False)
    text = "".join(pieces_of(tokenizer, ids, how))
    text.encode()
    assert text.endswith("the lazy dog")


def test_a_stream_that_gives_up_is_started_anew():
    """[space, a byte that begins no character, a letter]: the byte changes how the space decodes."""
    tokenizer = TOKENIZERS["byte-fallback"]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ("▁", "<0x80>", "a", "b")]
    assert None not in ids
    assert "".join(pieces_of(tokenizer, ids, "rust")).endswith("ab")
