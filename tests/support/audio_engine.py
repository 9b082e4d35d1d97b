"""An audio engine in the test's own process, driven step by step."""

from pathlib import Path
from typing import Any

from inference.engine.audio.job import AudioJob
from inference.engine.audio.load import load_audio_model
from inference.engine.audio.service import assemble
from inference.engine.kinds import kind_of
from inference.engine.options import make
from inference.engine.output import Conclude, Say
from inference.engine.protocol import Event, Media, Speak, Transcribe
from tests.support.audio_made import sweep
from tests.support.media_made import sound

CLIENT = b"client"


class Engine:
    """The real core, driven step by step; what it says is kept in the place of the output thread, which needs
    sockets."""

    def __init__(self, folder: Path, **options: Any):
        self.model, _ = load_audio_model(str(folder), "made", kind_of(str(folder)))
        self.core, self.reception = assemble(self.model, make(options), self)  # type: ignore[arg-type]
        self.said: dict[str, list[Event]] = {}

    def put(self, item: Say | Conclude) -> None:
        events = [item.event] if isinstance(item, Say) else [*item.events, item.end]
        for event in events:
            self.said.setdefault(event.id, []).append(event)  # type: ignore[union-attr]

    def submit(self, request: Transcribe | Speak) -> AudioJob:
        [job] = self.reception.prepare(CLIENT, request).work
        assert isinstance(job, AudioJob)
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


def heard(id: str, seconds: float = 2.0, *, user: str = "u", **fields: Any) -> Transcribe:
    data = sound("wav", "pcm_f32le", sweep(seconds)[None])
    return Transcribe(id, Media(data, "file"), user=user, **fields)
