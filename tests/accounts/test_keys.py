import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import keys

ANYWHERE = st.integers(min_value=0, max_value=56)
LETTERS = st.sampled_from(keys.ALPHABET)


def test_a_new_key_has_the_published_shape():
    key = keys.generate()
    assert re.fullmatch(r"sk-atelier-[0-9A-Za-z]{46}", key)
    assert keys.is_well_formed(key)


def test_the_checksum_is_the_crc32_of_what_precedes():
    key = keys.generate()
    value = 0
    for character in key[-6:]:
        value = value * 62 + keys.ALPHABET.index(character)
    assert value == zlib.crc32(key[:-6].encode())


def test_no_two_keys_are_equal():
    assert len({keys.generate() for _ in range(1000)}) == 1000


@given(ANYWHERE, LETTERS)
def test_a_mistyped_character_is_refused(position: int, letter: str):
    key = keys.generate()
    typo = key[:position] + letter + key[position + 1 :]
    assert keys.is_well_formed(typo) == (typo == key)


@given(ANYWHERE.filter(bool))
def test_swapped_neighbours_are_refused(position: int):
    key = keys.generate()
    typo = key[: position - 1] + key[position] + key[position - 1] + key[position + 1 :]
    assert keys.is_well_formed(typo) == (typo == key)


@given(ANYWHERE, LETTERS)
def test_a_lost_or_doubled_character_is_refused(position: int, letter: str):
    key = keys.generate()
    assert not keys.is_well_formed(key[:position] + key[position + 1 :])
    assert not keys.is_well_formed(key[:position] + letter + key[position:])


@given(st.text())
def test_any_other_text_is_refused(text: str):
    assert not keys.is_well_formed(text)
    assert not keys.is_well_formed(keys.PREFIX + text)


@pytest.mark.parametrize("around", [" {}", "{} ", "{}\n", "Bearer {}"])
def test_what_stands_around_a_key_is_not_ignored(around: str):
    assert not keys.is_well_formed(around.format(keys.generate()))


def test_the_digest_depends_on_key_and_secret(settings):
    key = keys.generate()
    first = keys.digest(key)
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert keys.digest(key) == first
    assert keys.digest(keys.generate()) != first
    settings.SECRET_KEY = "another secret, as long as it takes"
    assert keys.digest(key) != first


def test_the_visible_prefix_says_little():
    key = keys.generate()
    assert keys.visible_prefix(key) == key[:15]
    assert key.startswith(keys.visible_prefix(key))
