"""Whether a grammar can be compiled at all: tried in a process of its own, which may take too long or die of it.

llguidance bounds what it spends on a grammar by counting, and some cost thousands of times more than it counts: 300
characters can keep it busy for minutes, and long chains of rules overflow the stack. This file is run as a script, on
standard input a JSON array of the grammar, the names of the special tokens, and the size of the vocabulary.
"""

import json
import subprocess
import sys

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

HARMLESS = 4 * 1024
"""Characters of a JSON Schema. Shorter ones take a fraction of a second at worst: they have no rules that double."""
CPU_SECONDS = 2
WALL_SECONDS = 30.0
STACK = 4 * 2**20
"""Bytes: half of what threads have."""
LIMITS = LLParserLimits(
    step_max_items=10_000,  # an ambiguous grammar took seconds of every row's step
    max_lexer_states=50_000,  # 1 to 2 kB each, in each row
    verbose_errors=False,
)
"""A grammar that reaches one when it is compiled or asked for its first token is refused; a row that does later
fails."""


def survives(grammar: str, specials: list[str], vocab: int) -> bool:
    """Takes a tenth of a second for most. Blocks without the interpreter's lock."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__],
            input=json.dumps([grammar, specials, vocab]).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            check=False,
            close_fds=False,  # so that it is spawned, not forked from a process that holds a GPU
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class _Bytes:
    """A tokenizer with a token for each byte: how long compiling takes hardly depends on it."""

    def __init__(self, specials: list[str]):
        self.eos_token_id = 256
        self.bos_token_id = None
        self.tokens = [bytes([value]) for value in range(256)] + [name.encode() for name in ("<end>", *specials)]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def _try(grammar: str, specials: list[str], vocab: int) -> None:
    tokens = LLTokenizer(TokenizerWrapper(_Bytes(specials)), n_vocab=max(vocab, 257 + len(specials)))
    matcher = LLMatcher(tokens, grammar, log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()


def main() -> None:
    import os
    import resource
    import threading

    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK)
    thread = threading.Thread(target=_try, args=json.load(sys.stdin.buffer))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
