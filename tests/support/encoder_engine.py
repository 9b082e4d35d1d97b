"""An encoder's engine in the test's own process, driven step by step."""

from typing import Any

import mlx.core as mx
import numpy as np

from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job
from inference.engine.encoder.service import assemble
from inference.engine.options import make
from inference.engine.output import Conclude, Recall
from inference.engine.protocol import Embedded, Event, Failed, Finished, Request

ROUNDING = 2e-6
"""float32, on numbers below 1."""
TEXTS = [
    "a", "The quick brown fox", "Ça va très bien, merci; ", "x y z " * 15, "again and again", "日本語", " ", "fox fox",
    "def main():\n    return [x * 2 for x in range(10)]\n", "again and again",
]  # fmt: skip
CLIENT = b"client"


class Engine:
    """The real core, driven step by step; what it says is kept in the place of the output thread, which needs
    sockets."""

    def __init__(self, encoder: Encoder, **options: Any):
        self.core, self.reception = assemble(encoder, make(options), self)  # type: ignore[arg-type]
        self.encoder = encoder
        self.said: dict[str, tuple[list[Event], Finished | Failed]] = {}
        self.recalled: list[str] = []

    def put(self, item: Conclude | Recall) -> None:
        match item:
            case Conclude(_, events, end):
                assert end.id not in self.said, "a request ends once"
                self.said[end.id] = (events, end)
            case Recall(_, ids):
                self.recalled += ids

    def submit(self, request: Request) -> Job:
        [job] = self.reception.prepare(CLIENT, request).work
        assert isinstance(job, Job)
        self.core.submit(job)
        return job

    def tick(self) -> bool:
        self.core._inbox.put(None)  # ends the loop's wait for more
        self.core._receive()
        if self.core._live:
            self.core.step()
        return bool(self.core._live)

    def finish(self) -> int:
        """Runs until everyone has ended; in how many steps."""
        steps = 1
        while self.tick():
            steps += 1
            assert steps < 1000
        return steps

    def vectors(self, id: str) -> np.ndarray:
        """float32 [inputs, width] that an Embed was answered with."""
        [answer], end = self.said[id]
        assert isinstance(answer, Embedded) and isinstance(end, Finished) and end.reason == "stop"
        return np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.width)


def spoil(encoder: Encoder, token: int) -> None:
    """From now on the model makes of texts with this token numbers that are none."""
    encoder.model.embeddings.word_embeddings.weight[token] = mx.nan
