"""Tokens to text as they come: whole characters only, special tokens left out."""

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

REPLACEMENT = "\ufffd"


class Detokenizer:
    """Streams one answer. The pieces of `step` and the one of `flush` join to the text of all tokens decoded at once.

    The method is text-generation-inference's: decode a window that starts at the last whole piece, so that
    tokenizers which join words with spaces (Metaspace), split characters (byte-level) or spell bytes as tokens of
    their own (byte fallback) all come out right. Rust tokenizers do it in `DecodeStream`; this class does the same
    for the others.
    """

    def __init__(self, tokenizer: Any, specials: Mapping[int, str] | None = None):
        """`tokenizer` is a transformers tokenizer, `specials` the content of its special tokens, by id."""
        self._tokenizer = tokenizer
        self._specials = specials or {}
        rust = getattr(tokenizer, "backend_tokenizer", None)
        self._rust = rust if isinstance(rust, Tokenizer) else None
        self._stream = DecodeStream(skip_special_tokens=True)
        self._whole: list[int] = []
        """The tokens of the last piece: context for the next one."""
        self._held: list[int] = []
        """Tokens since then, whose text is not whole yet."""

    def step(self, token: int, *, verbatim: bool = False) -> str:
        """The text that this token completes; empty while a character is still in the making. verbatim: a special
        token counts as text."""
        if verbatim and token in self._specials:
            piece = ""
            if self._held:
                # A character that is not whole now never will be.
                piece = self.flush()
                self._stream = DecodeStream(skip_special_tokens=True)
            # The tokens before stay the context of those that follow: no word after a mark is the first of all.
            return piece + self._specials[token]
        self._held.append(token)
        if self._rust is not None:
            piece = self._rust_step(self._rust, token)
        else:
            piece = self._window()
            if piece.endswith(REPLACEMENT):
                piece = ""
        if piece:
            self._whole, self._held = self._held, []
        return piece

    def flush(self) -> str:
        """What is left at the end: an answer may be cut in the middle of a character."""
        piece = self._window() if self._held else ""
        self._whole, self._held = [], []
        return piece

    def _rust_step(self, tokenizer: Tokenizer, token: int) -> str:
        try:
            return self._stream.step(tokenizer, token) or ""
        except Exception:
            # Bytes that are no UTF-8 can change how the tokens before them decode; the stream then gives up for good
            # ("Invalid prefix encountered"). A new one goes on from here.
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._decode(self._held)

    def _window(self) -> str:
        before = self._decode(self._whole)
        return self._decode(self._whole + self._held)[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
