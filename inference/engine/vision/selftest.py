"""Whether a model's pictures may be batched, decided at load: rows with pictures, of which one prefills in two pieces
beside others that decode, against the same prompts in the model's own forward, by their logits.

Families differ in what a picture does to a prompt: positions of its own, tokens that see each other, features in
several layers. What the batch does not know of comes out silently wrong.
"""

from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from inference.engine.batch import Batch
from inference.engine.kv.rows import Rows
from inference.engine.kv.selftest import Batching, tolerance_of
from inference.engine.kv.store import Store
from inference.engine.launch import Launch
from inference.engine.model import LoadedModel
from inference.engine.protocol import Sampling
from inference.engine.sequence import Request, Sequence
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.speech import Speech
from inference.engine.text.stops import StopMatcher
from inference.engine.text.template import PromptError
from inference.engine.vision.features import Given
from inference.engine.vision.wording import IMAGE

STEPS, MOST = 4, 16
"""Tokens that the pictures' rows say at least, and that any row may say."""
SEVERAL = 4
"""Pictures in one prompt."""
SIZES = ((96, 64), (64, 96))
"""Width and height of the pictures."""
QUESTIONS = ("What is this?", "And what is it here, in a few words?")


def doubt(model: LoadedModel, batching: Batching) -> str:
    """Why its pictures may not be batched as its texts may be, for people; empty if nothing speaks against it."""
    try:
        trial = _Trial(model, batching)
        if not trial.reads_each_by_itself():
            return "how it reads a picture depends on how many there are"
        off = trial.deviation()
    except Exception as error:  # whatever a foreign model's code raises where it is used in another way than its own
        return f"its pictures fail in a batch: {type(error).__name__}: {error}"
    return f"its pictures in a batch are off by {off:.1e} deviations" if off > tolerance_of(model.model) else ""


class _Trial:
    """A batch of a text and two pictures."""

    def __init__(self, model: LoadedModel, batching: Batching):
        assert model.sight is not None and model.sight.batched is not None and batching.layout is not None
        self._own, self._reader = model.sight.solo
        self._speaker, self._eye = model.sight.batched
        self._tokenizer = model.tokenizer
        self._asked = [[{"role": "user", "content": [IMAGE, {"type": "text", "text": each}]}] for each in QUESTIONS]
        self._logits: mx.array | None = None
        """Of the step that was built last."""
        self._heard: dict[str, list[mx.array]] = {}
        draws = np.random.default_rng(0)
        self._pictures = [Image.fromarray(draws.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES]
        text = list(range(7, 31))
        self._rows = [self._sequence(0, text)]
        for picture, asked in zip(self._pictures, self._asked, strict=True):
            prompt, seen = self._eye.read(self._eye.wording.render(asked, {}), [picture], [self._eye.alone(picture)])
            self._rows.append(self._sequence(len(self._rows), prompt))
            self._rows[-1].seen = seen
        longest = max(len(row.prompt) for row in self._rows)
        store = Store(
            batching.layout,
            largest=longest + MOST + 2,
            max_rows=len(self._rows),
            grouped=batching.grouped,
            mixes=batching.mixed,
        )
        self._batch = Batch(self._speaker, model.vocab, store, Rows(store))
        self._batch.model = self._listen

    def reads_each_by_itself(self) -> bool:
        """Whether a picture is to the model's processor the same among others as alone. Some cut pictures up only where
        there are few."""
        pictures = [self._pictures[number % len(self._pictures)] for number in range(SEVERAL)]
        try:
            asked = self._eye.wording.render([{"role": "user", "content": [IMAGE] * SEVERAL}], {})
        except PromptError:
            return True  # it reads one, and says so
        try:
            self._eye.read(asked, pictures, [self._eye.alone(picture) for picture in pictures])
        except PromptError:
            return False
        return True

    def deviation(self) -> float:
        """The largest difference of two logits, in standard deviations."""
        batch, (text, first, second) = self._batch, self._rows
        for row in self._rows:
            batch.open(row)
            for picture in row.seen.unseen(0) if row.seen is not None else ():
                self._eye.look(picture, "")
        batch.prefill(text, text.to_prefill)
        batch.settle([text])
        assert first.seen is not None
        start, end, _ = first.seen.media[0]
        self._step((first, (start + end) // 2))
        self._step((first, first.to_prefill), (second, second.to_prefill))
        batch.settle([first, second])
        while first.generated < STEPS:
            self._step()
        found = zip((first, second), self._asked, self._pictures, strict=True)
        return max(self._off(row, asked, picture) for row, asked, picture in found)

    def _sequence(self, number: int, prompt: list[int]) -> Sequence:
        speech = Speech(Detokenizer(self._tokenizer), StopMatcher([]))
        return Sequence(Request("self-test", b""), number, prompt, Sampling(), MOST, speech)

    def _listen(self, tokens: mx.array, **more: Any) -> mx.array:
        self._logits = self._speaker(tokens, **more)
        return self._logits

    def _step(self, *prompts: tuple[Sequence, int]) -> None:
        """Every row says a token, and these prompts are prefilled beside them, or before where that can't be."""
        batch = self._batch
        if not batch.mixes:
            for row, tokens in prompts:
                batch.prefill(row, tokens)
        launch: Launch = batch.launch(prompts if batch.mixes else ())
        logits = self._logits
        assert logits is not None
        said, _ = launch.wait()
        for chunk in launch.chunks:
            batch.land(chunk)
        for lane, (sequence, token) in enumerate(zip(launch.lanes, said, strict=True)):
            if sequence is not None:
                self._heard.setdefault(sequence.id, []).append(logits[lane, -1])
                sequence.output.append(token)
        if batch.unsettled:
            batch.settle()

    def _off(self, row: Sequence, asked: list[dict[str, Any]], picture: Image.Image) -> float:
        """Against the model's own forward of the same prompt, made to say the same."""
        prompt, whole = self._reader.read(self._reader.wording.render(asked, {}), [picture])
        caches, given = self._own.make_cache(), Given(whole=whole)
        logits = [self._own(mx.array([prompt], mx.int32), caches, given)[0, -1]]
        for token in row.output[:-1]:
            logits.append(self._own(mx.array([[token]], mx.int32), caches)[0, -1])
        expected, heard = (mx.stack(each).astype(mx.float32) for each in (logits, self._heard[row.id]))
        return float(mx.abs(heard - expected).max()) / max(float(mx.std(expected)), 1e-9)
