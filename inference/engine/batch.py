"""The batch on the device: rows open, prefill, join, decode one token each, and leave."""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx

from inference.engine.backend import has_gpu
from inference.engine.kv import head
from inference.engine.kv.banks import Row
from inference.engine.kv.rows import Rows
from inference.engine.kv.store import Store
from inference.engine.launch import Chunk, Launch
from inference.engine.sampling import History, Masks, Sampler
from inference.engine.sequence import Sequence
from inference.engine.vision.features import Stretch, given

HOLES = 4
"""The batch closes its ranks once a lane in so many computes for nobody."""


class NotFinite(Exception):
    """The model's numbers are NaN or infinite: nothing that follows from them means anything."""


class Batch:
    """All of this belongs to the one thread that made the model.

    `launch` may run while the step before is under way. Everything else is for the time between steps, when nothing
    holds the caches: a write to an array that a step still reads copies all of it.
    """

    def __init__(
        self,
        model: Any,
        vocab: int,
        store: Store,
        prefix: Rows,
        *,
        masks: Masks | None = None,
        protected: tuple[int, ...] = (),
    ):
        self.model = model
        self._axes = getattr(model, "axes", 0)
        self.whole = getattr(model, "whole", False)
        """Prompts can only be prefilled in one piece, see `begin`."""
        self.vocab = vocab
        self.store = store
        self.prefix = prefix
        self.lanes: list[Sequence | None] = []
        self._masks = masks
        self._protected = protected
        self._inputs: mx.array | None = None
        """The token that each lane is fed next, int32 [lanes]."""
        self._history = History(vocab)
        self._sampler = Sampler([], vocab)
        self._under_way: Launch | None = None
        self._changed = False
        self._open: dict[str, Sequence] = {}

    @property
    def rows(self) -> list[Sequence]:
        """Those that decode."""
        return [sequence for sequence in self.lanes if sequence is not None and not sequence.ended]

    @property
    def unsettled(self) -> bool:
        """Whether `settle` has to come before the next launch: a row has moved or has no room left, too many lanes
        idle, an ended row would go on changing what the prefix cache wants of it, or one ended while it prefilled, and
        others wait for what it holds."""
        live = self.rows
        if self._changed or any(sequence not in self.lanes for sequence in self.ended()):
            return True
        idle = len(self.lanes) - len(live)
        if idle * HOLES > len(self.lanes) or (idle and self.store.layout.states):
            return True
        if any(sequence is not None and sequence.row.poisoned for sequence in self.lanes):
            return True
        return any(self.store.room(row.row) < 2 for row in live) or self.prefix.overdue(live)

    # --- joining -----------------------------------------------------------------------------------------------------

    def open(self, sequence: Sequence) -> None:
        """Gives it a row, with all that the prefix cache knows of its tokens."""
        sequence.row = self.prefix.open(sequence)
        self._open[sequence.id] = sequence

    def prefill(self, sequence: Sequence, tokens: int) -> None:
        """Runs its next `tokens` tokens through the model into its row, by itself. Synchronous. Raises NotFinite.

        Only the caches are evaluated: the logits of prompt positions stay lazy and are never computed.
        """
        start = sequence.prefilled
        for stop in self.prefix.stops(sequence, start, start + tokens) if tokens else ():
            self._prefill_chunk(sequence, stop)
            self._prefilled(sequence)

    def begin(self, sequence: Sequence) -> Launch:
        """Runs all that it lacks through the model by itself, its last token too, and draws what follows: the step of
        one lane, to be committed before it joins. Synchronous. Raises NotFinite."""
        start, end = sequence.prefilled, sequence.context
        chunk = mx.array(sequence.tokens(start, end), mx.int32)
        with head.last():
            logits = self._forward(chunk[None], self.store.prefill_caches(sequence.row), [_part(sequence, start, end)])
            logits = logits[:, -1, :]
        self.store.extend(sequence.row, end - start)
        sampler = Sampler([sequence], self.vocab, masks=self._masks, protected=self._protected)
        launch = Launch([sequence], sampler(logits, History(self.vocab)), self.store.written(sequence.row), [])
        sequence.launched += 1
        finite = self.store.finite(sequence.row, start, end)
        launch.wait()
        if not finite.item():
            raise NotFinite
        sequence.prefilled = end
        self._prefilled(sequence)
        return launch

    def _prefill_chunk(self, sequence: Sequence, end: int) -> None:
        start = sequence.prefilled
        chunk = mx.array(sequence.tokens(start, end), mx.int32)
        self._forward(chunk[None], self.store.prefill_caches(sequence.row), [_part(sequence, start, end)])
        self.store.extend(sequence.row, end - start)
        finite = self.store.finite(sequence.row, start, end)
        mx.eval(self.store.written(sequence.row), finite)
        if not finite.item():
            raise NotFinite
        sequence.prefilled = end

    def _forward(self, tokens: mx.array, caches: list[Any], stretches: list[Stretch]) -> mx.array:
        """tokens int32 [lanes, tokens], those of the stretches one after another -> logits."""
        more = given(stretches, axes=self._axes)
        logits: mx.array = self.model(tokens, cache=caches, **({} if more is None else {"given": more}))
        return logits

    # --- decoding ----------------------------------------------------------------------------------------------------

    @property
    def mixes(self) -> bool:
        """Whether a step may prefill beside its rows."""
        return self.store.mixes

    def launch(self, prompts: Iterable[tuple[Sequence, int]] = ()) -> Launch:
        """Starts one step and returns at once: every lane decodes, and the next so many tokens of each of these prompts
        are prefilled, where the batch `mixes`. Those have to `land` before the next launch. A sequence may do both in
        one step, if those are all that its prompt lacks: keys and values are written before anyone reads them."""
        prompts = list(prompts)
        lanes = len(self.lanes)
        inputs = [] if self._inputs is None else [self._inputs]
        if prompts:
            said = [token for each, count in prompts for token in each.tokens(each.prefilled, each.prefilled + count)]
            inputs.append(mx.array(said, mx.int32))
        fed = inputs[0] if len(inputs) == 1 else mx.concatenate(inputs)
        for sequence, tokens in prompts:
            self.store.extend(sequence.row, tokens)
        # A lane may be that of one of these prompts, whose last token comes after them.
        stretches = [_next(sequence) for sequence in self.lanes]
        stretches += [_part(each, each.prefilled, each.prefilled + count) for each, count in prompts]
        views = self.store.views(spans=[(each.row, count) for each, count in prompts])
        with head.lanes(lanes or None):
            logits = self._forward(fed[:, None], views, stretches)
        rest = self.store.advance()
        chunks = []
        for sequence, tokens in prompts:
            rest += self.store.written(sequence.row)
            finite = self.store.finite(sequence.row, sequence.prefilled, sequence.prefilled + tokens)
            chunks.append(Chunk(sequence, tokens, finite, sequence.row.decoding))
        launch = Launch(self.lanes, None, rest, chunks, logits=logits[:lanes, -1, :] if lanes else None)
        if not any(sequence.guide for sequence in self.rows):
            self._draw(launch)
        if self._under_way is not None:
            # Its draws were in doubt until now; this step's graph could be built on them all the same.
            self._under_way.go_on()
        launch.begin()
        self._under_way = launch
        return launch

    def draw(self, launch: Launch) -> None:
        """To be called with every launch once the tokens of the one before are known: rows with a guide can't draw
        theirs any earlier. Meanwhile the device computes all that leads to the draw."""
        logits = launch.logits
        if logits is not None:
            self._draw(launch)
            if not has_gpu():
                # All parts of a draw that waits for its logits have memory of their own, which costs more than the
                # draw. One that begins at once leaves it from part to part.
                mx.eval(logits)
            launch.begin()

    def _draw(self, launch: Launch) -> None:
        logits, launch.logits = launch.logits, None
        if logits is not None:
            launch.drawn = self._sampler(logits, self._history)
            launch.rest += self._history.arrays()
            self._inputs = launch.drawn.tokens
            for sequence in launch.lanes:
                if sequence is not None and not sequence.ended:
                    sequence.launched += 1

    def land(self, chunk: Chunk) -> None:
        """Its step is computed. Raises NotFinite."""
        if not chunk.finite.item():
            raise NotFinite
        chunk.sequence.prefilled += chunk.tokens
        self._prefilled(chunk.sequence)

    def _prefilled(self, sequence: Sequence) -> None:
        """More of its prompt is."""
        row = sequence.row
        self.prefix.commit(sequence)
        if row.decoding and not sequence.ended:
            self.prefix.prefilled(sequence)
            self._changed |= sequence.row is not row

    def works(self, sequences: list[Sequence]) -> bool:
        """Whether a step of these rows alone can be computed. Leaves no trace: what it writes is written again."""
        of = {id(sequence.row): sequence for sequence in sequences}
        rows = self.store.order([sequence.row for sequence in sequences])
        assert self._inputs is not None
        try:
            inputs = self._inputs[mx.array([row.lane for row in rows], mx.int32)]
            stretches = [_next(of[id(row)]) for row in rows]
            logits = self._forward(inputs[:, None], self.store.views(rows), stretches)[:, -1, :]
            sampler = Sampler([of[id(row)] for row in rows], self.vocab, masks=self._masks)
            drawn = sampler(logits, History(self.vocab))
            drawn.settle()
            mx.eval(drawn.arrays())
        except Exception:
            return False
        return True

    def rewind(self, prompts: Iterable[tuple[Sequence, int]] = ()) -> None:
        """After a step that failed: the lanes stand again where the last token known of each row left them, and these
        that prefilled in it where they began."""
        self._under_way = None
        for sequence in self.rows:
            sequence.launched = sequence.generated
            sequence.row.own = sequence.context - 1 - sequence.row.base
            self._history.forget(sequence)
        for sequence, _ in prompts:
            self.store.takes_back(sequence.row, sequence.prefilled)
        self.store.rewind()
        self._inputs = mx.array([0 if lane is None else lane.last_token for lane in self.lanes], mx.int32)

    @property
    def rewinds(self) -> bool:
        """Whether rows can go on after `rewind`. Rings and states have moved on, and must be computed anew."""
        return self.store.rewinds

    # --- leaving -----------------------------------------------------------------------------------------------------

    def end(self, sequence: Sequence, *, poisoned: bool = False) -> None:
        """It says no more: its lane idles until it leaves. May be called while a step is under way. poisoned: nothing
        of what it holds may be used."""
        if sequence.row is not None:
            sequence.row.ended = True
            sequence.row.poisoned |= poisoned

    def ended(self) -> list[Sequence]:
        """Those that have said all and still have a row."""
        return [sequence for sequence in self._open.values() if sequence.ended]

    def leave(self, sequence: Sequence) -> None:
        """Takes its row back. What that holds goes to the prefix cache, unless it is poisoned."""
        row = sequence.row
        try:
            if not row.poisoned:
                self.prefix.ended(sequence)
        finally:
            self.prefix.close(sequence, scrub=row.poisoned)
            self._history.forget(sequence)
            del self._open[sequence.id]
            if sequence in self.lanes:
                self.lanes = [None if lane is sequence else lane for lane in self.lanes]
                self._changed = True

    def settle(self, joining: Iterable[Sequence] = ()) -> None:
        """Rows move where they have room, sequences join, and the lanes close ranks. Those that join are prefilled, or
        will be by the next launch; the last token known of them is their first input."""
        for sequence in self.rows:
            if self.store.room(sequence.row) < 2:
                self.store.move(sequence.row)
                self._changed = True
        self.prefix.catch_up(self.rows)
        joined = list(joining)
        for sequence in joined:
            if not sequence.to_prefill:
                self.prefix.prefilled(sequence)
        self.store.join([sequence.row for sequence in joined])
        if self._changed or joined:
            self._arrange({id(sequence.row): sequence for sequence in joined})
        if not self.lanes:
            # The last step's arrays would stay as long as nobody comes.
            self._under_way = None
            self.store.rest()

    def _arrange(self, joined: dict[int, Sequence]) -> None:
        """Asks the store for the lanes, and brings inputs and sampler in that order."""
        known = {id(sequence.row): sequence for sequence in self.lanes if sequence is not None} | joined
        before = {id(sequence): lane for lane, sequence in enumerate(self.lanes) if sequence is not None}
        count = len(self.lanes)
        rows: list[Row | None] = self.store.arrange()
        self.lanes = [known.get(id(row)) if row is not None and row.decoding else None for row in rows]
        fresh: list[int] = []
        order: list[int] = []
        for sequence in self.lanes:
            if sequence is not None and id(sequence) in before:
                order.append(before[id(sequence)])
            else:
                order.append(count + len(fresh))
                fresh.append(sequence.last_token if sequence is not None else 0)
        pieces = [self._inputs] if self._inputs is not None and count else []
        if fresh:
            pieces.append(mx.array(fresh, mx.int32))
        self._inputs = mx.concatenate(pieces)[mx.array(order, mx.int32)] if order else None
        self._sampler = Sampler(self.lanes, self.vocab, masks=self._masks, protected=self._protected)
        self._changed = False


def _part(sequence: Sequence, start: int, end: int) -> Stretch:
    return Stretch(sequence.seen, start, end)


def _next(sequence: Sequence | None) -> Stretch:
    """The token that its lane is fed next; None: a lane that computes for nobody."""
    if sequence is None:
        return Stretch(None, 0, 1)
    return Stretch(sequence.seen, sequence.row.length, sequence.row.length + 1)
