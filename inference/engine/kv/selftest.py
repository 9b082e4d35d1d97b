"""Whether a model may batch, decided at load: rows together against each alone, by their logits.

Most families can; a few keep something per position that slots don't know of, and come out silently wrong.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from inference.engine.kv import attention, head
from inference.engine.kv.banks import Row, Shared
from inference.engine.kv.copies import save
from inference.engine.kv.layout import Layout, NoLayout, describe
from inference.engine.kv.pool import Pool
from inference.engine.kv.prefill import private_caches
from inference.engine.kv.store import Store
from inference.engine.prefix.records import Copy

log = logging.getLogger(__name__)

LENGTHS = (5, 23, 40)
"""Tokens of the test's prompts: one for each of three small capacity classes."""
STEPS = 4
PROBE_STEPS = 22
"""Of the divergence monitor's probe: with three rows, as many positions as it wants to compare."""
COMMON = 16
"""Tokens that the prompts begin with in the test of shared prefixes."""
TOLERANCE = {mx.float32: 2e-3}
COARSE_TOLERANCE = 0.1
"""Largest difference of two logits, in standard deviations of the logits: what float32 and 16-bit rounding may do. A
row that reads another's tokens is off by whole deviations."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How a model may be served.

    layout: None for one row at a time. grouped: rows of several lengths without padding. shared: rows may read a
    common prefix together. mixed: prompts may prefill in the steps of rows that decode. reason: why it is less than
    grouped, for people.
    """

    layout: Layout | None
    grouped: bool = False
    shared: bool = False
    mixed: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        return "single" if self.layout is None else "batched" if self.grouped else "padded"


def decide(model: Any) -> Batching:
    """Runs three short rows alone, padded, grouped, behind a shared prefix, and in mixed steps, and compares."""
    attention.install()
    head.install(model)
    try:
        layout = describe(model)
        if not (layout.per_token or layout.states):
            raise NoLayout("no cache at all")
        alone = _Alone(model)
        wrong = alone.compare(lambda: _together(model, layout, alone, grouped=False))
    except NoLayout as error:
        return Batching(None, reason=f"its cache has no slots: {error}")
    except Exception as error:  # whatever a foreign model's code raises when it is handed other caches than its own
        return Batching(None, reason=f"it fails in a batch: {type(error).__name__}: {error}")
    if wrong is not None:
        return Batching(None, reason=f"rows in a batch are off by {wrong:.1e} deviations")
    wrong = alone.compare(lambda: _together(model, layout, alone, grouped=True), forgiving=True)
    if wrong is not None:
        return Batching(layout, reason="its attention can't be computed by length: long rows slow short ones down")
    if not layout.plain:
        return Batching(layout, grouped=True)
    shared = alone.compare(lambda: _behind_prefix(model, layout, alone), forgiving=True) is None
    if layout.rings or layout.states:
        return Batching(layout, grouped=True, shared=shared)
    mixed = alone.compare(lambda: _mixed(model, layout, alone), forgiving=True) is None
    return Batching(layout, grouped=True, shared=shared, mixed=mixed)


def probe(model: Any, layout: Layout, grouped: bool) -> tuple[list[int], list[int]]:
    """What the model would say at each position of a few fixed texts, row by row alone and all together."""
    alone = _Alone(model, PROBE_STEPS)
    together = _together(model, layout, alone, grouped=grouped)

    def said(logits: mx.array) -> list[int]:
        return cast(list[int], mx.argmax(logits, axis=-1).flatten().tolist())

    return said(alone.logits), said(together)


class _Alone:
    """The rows one by one, with mlx-lm's own caches: what the others are compared to."""

    def __init__(self, model: Any, steps: int = STEPS):
        tokens = [[7 + (3 * place) % 89 if place < COMMON else 11 + (row * 31 + place * 5) % 97 for place in range(n)]
                  for row, n in enumerate(LENGTHS)]  # fmt: skip
        self.prompts = [prompt[: max(2, len(prompt))] for prompt in tokens]
        self.said = [[13 + (row * 17 + step * 7) % 101 for row in range(len(LENGTHS))] for step in range(steps)]
        logits = []
        for row, prompt in enumerate(self.prompts):
            caches = make_prompt_cache(model)
            model(mx.array(prompt, mx.int32)[None], cache=caches)
            said = [model(mx.array([[step[row]]], mx.int32), cache=caches)[0, -1] for step in self.said]
            logits.append(mx.stack(said))
            mx.eval(logits[-1])
        self.logits = mx.stack(logits, axis=1).astype(mx.float32)
        self.tolerance = tolerance_of(model)

    def compare(self, run: Callable[[], mx.array], *, forgiving: bool = False) -> float | None:
        """Largest difference of the run's logits [steps, rows, vocab], in deviations, if it is too large."""
        try:
            other = run().astype(mx.float32)
        except Exception as error:
            if not forgiving:
                raise
            log.debug("self-test: %s: %s", type(error).__name__, error)
            return float("inf")
        deviation = max(float(mx.std(self.logits)), 1e-9)
        off = float(mx.abs(other - self.logits).max()) / deviation
        return None if off <= self.tolerance else off


def _together(model: Any, layout: Layout, alone: _Alone, *, grouped: bool) -> mx.array:
    store = Store(layout, largest=128, max_rows=len(LENGTHS), grouped=grouped, smallest=16)
    rows = []
    for prompt in alone.prompts:
        row = store.open(len(prompt) + len(alone.said) + 1)
        _prefill(model, store, row, prompt)
        rows.append(row)
    return _decode(model, store, rows, alone)


def _behind_prefix(model: Any, layout: Layout, alone: _Alone) -> mx.array:
    """The same rows, two of them reading their first tokens where the first of the two has put them."""
    pool = Pool(layout, 2 * COMMON)
    store = Store(layout, largest=128, max_rows=len(LENGTHS), grouped=True, smallest=16, pool=pool)
    leader = store.open(LENGTHS[-1] + len(alone.said) + 1)
    _prefill(model, store, leader, alone.prompts[-1][:COMMON])
    save(store, leader, [Copy(COMMON // 2, 0, COMMON)])
    shared = Shared((0,), ((COMMON // 2, COMMON), (COMMON, COMMON + COMMON // 2)), COMMON)
    rows = []
    for prompt in alone.prompts:
        lean = len(prompt) > COMMON
        row = store.open(len(prompt) + len(alone.said) + 1 - (COMMON if lean else 0), shared if lean else None)
        if lean:
            for leaf, cache in leader.private.items():
                row.private[leaf] = _twin(layout, leaf, cache)
        _prefill(model, store, row, prompt[COMMON:] if lean else prompt)
        rows.append(row)
    return _decode(model, store, rows, alone)


def _mixed(model: Any, layout: Layout, alone: _Alone) -> mx.array:
    """The same rows, of which the first decodes while the others prefill."""
    store = Store(layout, largest=128, max_rows=len(LENGTHS), grouped=True, mixes=True, smallest=16)
    rows = [store.open(len(prompt) + len(alone.said) + 1) for prompt in alone.prompts]
    first, second, third = alone.prompts
    steps: list[list[mx.array]] = [[] for _ in rows]

    def step(*chunks: tuple[int, list[int]]) -> None:
        lanes = [row for row in store.arrange() if row is not None]
        fed = [alone.said[len(steps[rows.index(row)])][rows.index(row)] for row in lanes]
        fed += [token for _, tokens in chunks for token in tokens]
        for place, tokens in chunks:
            store.extend(rows[place], len(tokens))
        views = store.views(spans=[(rows[place], len(tokens)) for place, tokens in chunks])
        with head.lanes(len(lanes) or None):
            logits = model(mx.array(fed, mx.int32)[:, None], cache=views)[:, -1]
        written = [array for place, _ in chunks for array in store.written(rows[place])]
        mx.eval(logits[: len(lanes)], written, store.advance())
        for lane, row in enumerate(lanes):
            steps[rows.index(row)].append(logits[lane])

    half = len(second) // 2
    step((0, first), (1, second[:half]))
    store.join(rows[:1])
    step((1, second[half:]), (2, third[:half]))
    store.join(rows[1:2])
    step((2, third[half:]))
    while len(steps[2]) < len(alone.said):
        # Whoever has said all leaves; the third begins when the others are ahead of it.
        for row, said in zip(rows, steps, strict=True):
            if len(said) == len(alone.said) and row.decoding:
                store.close(row)
        if not rows[2].decoding:
            store.join(rows[2:])
        step()
    return mx.stack([mx.stack(said) for said in steps], axis=1)


def _prefill(model: Any, store: Store, row: Row, tokens: list[int]) -> None:
    model(mx.array(tokens, mx.int32)[None], cache=store.prefill_caches(row))
    store.extend(row, len(tokens))
    mx.eval(store.written(row))


def _decode(model: Any, store: Store, rows: list[Row], alone: _Alone) -> mx.array:
    """Teacher-forced steps of these rows; logits [steps, rows, vocab]."""
    store.join(rows)
    lanes = store.arrange()
    steps = []
    for said in alone.said:
        fed = [0 if row is None or row not in rows else said[rows.index(row)] for row in lanes]
        logits = model(mx.array(fed, mx.int32)[:, None], cache=store.views())[:, -1]
        mx.eval(logits, store.advance())
        steps.append(mx.stack([logits[row.lane] for row in rows]))
    return mx.stack(steps)


def _twin(layout: Layout, leaf: int, cache: Any) -> Any:
    """A copy of a cache of the leader's, which nobody else writes to."""
    twin = private_caches(layout)[leaf]
    if leaf in layout.states:
        twin.cache = list(cache.cache)
    else:
        twin.keys, twin.values = cache.keys, cache.values
        twin.offset, twin._idx = cache.offset, cache._idx
    return twin


def tolerance_of(model: Any) -> float:
    """The largest difference of two logits, in standard deviations, that its rounding may make."""
    return TOLERANCE.get(_dtype(model), COARSE_TOLERANCE)


def _dtype(model: Any) -> mx.Dtype:
    """float32 only where all of the model is: quantised weights round like 16 bits on some backends."""
    dtypes = {array.dtype for _, array in tree_flatten(model.parameters())}
    return mx.float32 if dtypes <= {mx.float32, mx.uint32} else mx.float16
