"""`make bench-grammar`: what a grammar adds to the time of a token, with a small and with a large vocabulary.

The whole step loop in this process, with seeded models: rows decode beside each other, without and with a JSON Schema
that never ends. Nothing ends an answer, so that all have the same length. Each round measures both, one right after the
other and the other way round in the next, as the mean time of a step in which all rows decode; every row gets one token
in a step. What is added is told by the rounds' ratios: their median, and the quartiles, which is how far such a figure
can be trusted.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from time import perf_counter
from typing import Any

import mlx.core as mx
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inference.engine import assembly
from inference.engine.model import LoadedModel, load_model
from inference.engine.options import make
from inference.engine.prepare import prepare
from inference.engine.protocol import Format, Generate, Sampling
from tests.benchmarks.peers.models import SPECIAL, invented_text
from tests.benchmarks.peers.servers import openblas, with_openblas
from tests.support.engine_made import CLIENT, Recorder
from tests.support.models_made import make_model

VOCABULARIES = (8192, 151_936)
ROWS = (1, 16)
SHAPE = {
    "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32,
    "intermediate_size": 768, "max_position_embeddings": 4096,
}  # fmt: skip
PROMPT = 64
SCHEMA = {
    "type": "array",
    "minItems": 1_000_000,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "born": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
            "kind": {"enum": ["cat", "dog", "other"]},
        },
        "required": ["name", "age", "born", "tags", "kind"],
        "additionalProperties": False,
    },
}
PUNCTUATION = ['{"', '":', '","', '":"', '"}', '"},', '":[', '"],', " " * 16, "\n" * 4]
"""As large vocabularies have them."""


@dataclass(frozen=True)
class Figure:
    """Milliseconds of a step, round by round."""

    vocabulary: int
    rows: int
    plain: list[float]
    guided: list[float]

    @property
    def added(self) -> list[float]:
        """Of the time without a grammar: quartiles over the rounds."""
        return quantiles((guided / plain - 1 for plain, guided in zip(self.plain, self.guided, strict=True)), n=4)


def tokenizer_of(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose tokens are the beginnings of invented words, each made from the one a letter shorter."""
    known = {token: id for id, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges = []
    for word in _words():
        for end in range(2, len(word) + 1):
            if word[:end] not in known and len(known) < vocabulary:
                known[word[:end]] = len(known)
                merges.append((word[: end - 1], word[end - 1]))
        if len(known) == vocabulary:
            break
    tokenizer = Tokenizer(models.BPE(vocab=known, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def _words() -> Iterator[str]:
    """As the tokens of a byte-level BPE are spelt; without end."""
    spelt = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for word in PUNCTUATION:
        yield spelt.pre_tokenize_str(word)[0][0]
    for sentence in invented_text():
        for word in sentence.split():
            yield "Ġ" + word
            yield word
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
    while True:
        yield "".join([draw.choice(["Ġ", ""]), *draw.choices(letters, k=draw.randint(3, 12))])


def load(vocabulary: int, folder: Path) -> LoadedModel:
    model = load_model(str(make_model(folder, tokenizer=tokenizer_of(vocabulary), **SHAPE)), "seeded")
    model.end_tokens = frozenset()
    return model


def measure(model: LoadedModel, rows: int, tokens: int, form: Format | None) -> float:
    """Mean milliseconds of a step with all rows."""
    core = assembly.assemble(model, make({"max_num_seqs": rows}), Recorder())  # type: ignore[arg-type]
    words = random.Random(rows)
    for row in range(rows):
        prompt = words.choices(range(300, model.vocab), k=PROMPT)
        sampling = Sampling(temperature=0.8, seed=row)
        request = Generate(id=f"{row}", prompts=[prompt], max_tokens=tokens, sampling=sampling, format=form)
        core.submit(prepare(CLIENT, request, model).sequences[0])
    took = []
    while True:
        core._inbox.put(None)  # ends the loop's wait for more
        core._receive()
        if not core.roster.live:
            return mean(took[2:]) * 1e3
        whole = len(core.batch.rows) == rows
        began = perf_counter()
        core.step()
        if whole and len(core.batch.rows) == rows:
            took.append(perf_counter() - began)


def figures(rounds: int, tokens: int) -> Iterator[Figure]:
    form = Format("json_schema", json.dumps(SCHEMA))
    for vocabulary in VOCABULARIES:
        with tempfile.TemporaryDirectory() as folder:
            model = load(vocabulary, Path(folder) / "model")
            for rows in ROWS:
                taken: dict[Format | None, list[float]] = {None: [], form: []}
                for turn in range(rounds + 1):
                    for each in (None, form) if turn % 2 else (form, None):
                        took = measure(model, rows, tokens, each)
                        if turn:  # the first warms up
                            taken[each].append(took)
                yield Figure(vocabulary, rows, taken[None], taken[form])


def with_the_same_matrices() -> None:
    """Begins anew with OpenBLAS, as engines run on Linux: beside slow matrices nothing that a grammar adds would show.
    With one thread of it, where engines try how many are best, for that may come out differently each time."""
    if openblas() is not None and "openblas" not in os.environ.get("LD_PRELOAD", ""):
        arguments = [sys.executable, "-m", "tests.benchmarks.grammar", *sys.argv[1:]]
        os.execve(sys.executable, arguments, with_openblas({"OPENBLAS_NUM_THREADS": "1", **os.environ}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with_the_same_matrices()
    table = Table(title=f"Grammars on {mx.default_device()}, MLX {mx.__version__}")
    for column in ("vocabulary", "rows", "step without, ms", "step with, ms", "added", "from", "to"):
        table.add_column(column, justify="right")
    found: list[dict[str, Any]] = []
    for each in figures(options.rounds, options.tokens):
        low, middle, high = each.added
        cells = [f"{each.vocabulary:,}", f"{each.rows}", f"{median(each.plain):.2f}", f"{median(each.guided):.2f}"]
        table.add_row(*cells, *(f"{share:+.1%}" for share in (middle, low, high)))
        found.append({"vocabulary": each.vocabulary, "rows": each.rows, "plain": each.plain, "guided": each.guided})
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
