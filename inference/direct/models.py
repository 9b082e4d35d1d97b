"""What users call: a model in this process."""

import re
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

from inference.direct import requests
from inference.direct.answers import Answer, Stream
from inference.direct.errors import ModelError, RequestError
from inference.direct.host import Host
from inference.direct.pictures import Picture, Video
from inference.engine import protocol
from inference.engine.kinds import DOES, kind_of
from inference.engine.options import EngineOptions, OptionError, make
from inference.hub.cache import Store
from inference.sources import SourceError, load_path, parse_source

DESCRIBE = "Describe this image."
DESCRIBE_VIDEO = "Describe what happens in this video."


class LanguageModel:
    """A model that writes, loaded when it is first needed: a built-in model's name, a folder, or a Hugging Face id.

    For any number of threads: what several ask at once runs in one batch. Use it as a context manager, or `close` it,
    to give its memory back. options: those of an engine, `max_num_seqs=8` for `--max-num-seqs 8`.
    """

    kinds: ClassVar[tuple[protocol.ModelKind, ...]] = ("text", "vision")

    def __init__(self, model: str | Path, **options: Any):
        """Raises ModelError where there can't be a model, ValueError for options that make no sense."""
        try:
            source = parse_source(str(model))
            commit = Store(source.source).commit_of(source.revision) if source.is_of_hub else None
            self._path = load_path(source.source, commit or "")
        except SourceError as error:
            raise ModelError(str(error)) from None
        self.name = source.name
        self._options = _options(options)
        self._host: Host | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._end: weakref.finalize[..., Any] | None = None

    def load(self) -> Self:
        """Loads it, if it is not there. Raises ModelError."""
        with self._lock:
            self._closed = False
            self._loaded()
        return self

    @property
    def is_loaded(self) -> bool:
        return self._host is not None

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self._ready().service.context_length

    def generate(self, prompt: str | list[int], **options: Unpack[requests.Sampling]) -> Answer:
        """Continues a text, or token ids, as `POST /v1/completions` does. Raises RequestError, ModelError and
        EngineError, as all of these."""
        return self.stream_generate(prompt, **options).whole()

    def stream_generate(self, prompt: str | list[int], **options: Unpack[requests.Sampling]) -> Stream:
        """The same in pieces, as they come."""
        return Stream(self._ready(), requests.plain(prompt, options))

    def chat(self, messages: Sequence[dict[str, Any]], **options: Unpack[requests.Clips]) -> Answer:
        """Answers a conversation of OpenAI's messages, as `POST /v1/chat/completions` does."""
        return self.stream_chat(messages, **options).whole()

    def stream_chat(self, messages: Sequence[dict[str, Any]], **options: Unpack[requests.Clips]) -> Stream:
        """The same in pieces, as they come."""
        return Stream(self._ready(), requests.chat(messages, options))

    def count_tokens(self, messages: Sequence[dict[str, Any]], **options: Unpack[requests.Clips]) -> int:
        """How long the prompt of this conversation is, pictures and tools included."""
        return self._ready().count(requests.chat(messages, options))

    def stats(self) -> protocol.Stats:
        """What the engine has done so far, and what memory it takes: at most a quarter of a second old."""
        return self._ready().service.core.stats()

    def close(self) -> None:
        """Lets the model go. Calls under way raise EngineError; later ones RuntimeError, until `load`."""
        with self._lock:
            self._closed = True
            end, self._end, self._host = self._end, None, None
        if end is not None:
            end()

    def __enter__(self) -> Self:
        return self.load()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def _ready(self) -> Host:
        if (host := self._host) is not None:
            return host
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self.name} is closed; load() loads it again.")
            return self._loaded()

    def _loaded(self) -> Host:
        if self._host is None:
            kind = kind_of(self._path)
            if kind not in self.kinds:
                raise ModelError(f"{self.name} is no model for {type(self).__name__}: it can {DOES[kind]}.")
            try:
                self._host = Host(self._path, self.name, kind, self._options)
            except OptionError as error:
                raise _in_python(error) from None
            # Also when nobody has this object any more, and before the interpreter ends.
            self._end = weakref.finalize(self, self._host.close)
        return self._host


class VisionModel(LanguageModel):
    """A model that sees. Pictures are paths, bytes, data URLs or Pillow's images; clips are paths, bytes or data URLs.
    Nothing is fetched from the web."""

    kinds: ClassVar[tuple[protocol.ModelKind, ...]] = ("vision",)

    def generate(  # type: ignore[override]
        self,
        prompt: str,
        images: Sequence[Picture] | None = None,
        videos: Sequence[Video] | None = None,
        **options: Unpack[requests.Clips],
    ) -> Answer:
        """Answers one turn of a conversation: pictures, clips, then the prompt."""
        return self.stream_generate(prompt, images, videos, **options).whole()

    def stream_generate(  # type: ignore[override]
        self,
        prompt: str,
        images: Sequence[Picture] | None = None,
        videos: Sequence[Video] | None = None,
        **options: Unpack[requests.Clips],
    ) -> Stream:
        """The same in pieces, as they come."""
        return Stream(self._ready(), requests.shown(prompt, images, videos, options))

    def describe_image(self, image: Picture, prompt: str = DESCRIBE, **options: Unpack[requests.Clips]) -> str:
        """What is to be seen."""
        return self._about("image", prompt, [image], None, options)

    def answer_about_image(self, image: Picture, question: str, **options: Unpack[requests.Clips]) -> str:
        return self._about("image", question, [image], None, options, asks="question")

    def describe_video(
        self, video: Video, prompt: str = DESCRIBE_VIDEO, *, fps: float | None = None, **options: Unpack[requests.Clips]
    ) -> str:
        """What happens. fps: frames of each second that are looked at, as `video_fps`."""
        if fps is not None:
            options = {"video_fps": fps, **options}
        return self._about("video", prompt, None, [video], options)

    def _about(
        self,
        shows: str,
        prompt: str,
        images: Sequence[Picture] | None,
        videos: Sequence[Video] | None,
        options: requests.Clips,
        asks: str = "prompt",
    ) -> str:
        """In the words of the call that was made."""
        words = {"images[0]": "image", "videos[0]": "video", "prompt": asks}
        try:
            return self.generate(prompt, images, videos, **options).text.strip()
        except RequestError as error:
            if error.argument not in words:
                raise
            word = words[error.argument]
            raise RequestError(str(error).replace(error.argument, word), word, error.code) from None


def _options(given: dict[str, Any]) -> EngineOptions:
    try:
        return make({name: value for name, value in given.items() if value is not None})
    except OptionError as error:
        raise _in_python(error) from None


def _in_python(error: OptionError) -> ValueError:
    """Flags as the arguments that they are here."""
    return ValueError(re.sub(r"--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), str(error)))
