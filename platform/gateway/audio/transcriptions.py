"""`POST /v1/audio/transcriptions` and `POST /v1/audio/translations`: a sound in, its text out, as OpenAI words it."""

import asyncio
from abc import abstractmethod
from dataclasses import dataclass

from msgspec import structs

from accounts.authentication import Principal
from accounts.models import Scope
from gateway import errors, runtime
from gateway.answers import encode
from gateway.audio.form import GRANULARITIES, TranscriptionForm, TranslationForm, read_form
from gateway.audio.transcript import Wish, events_of, worded
from gateway.context import RequestContext, of
from gateway.endpoint import refuse_ignored
from gateway.forms import FormEndpoint, Upload
from gateway.generation import running
from gateway.sse import EventStream, event
from inference.engine.protocol import Media, Transcribe, Transcribed

BYTES_PER_SECOND = 200_000
"""Of a sound, before anybody has decoded it: a little more than a CD has, so that nothing is refused that would fit."""
TOKENS_PER_SECOND = 50


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a client wants to have heard; see `gateway.ask.Asked`."""

    endpoint: str
    model: str
    prompt: Transcribe
    """All but what only a running request has."""
    stream: bool
    prompt_param: str = "file"
    choices: int = 0
    tier: None = None

    def most_tokens(self) -> int:
        return 0

    def estimated_prompt_tokens(self) -> int:
        return TOKENS_PER_SECOND * (1 + len(self.prompt.sound.data) // BYTES_PER_SECOND)

    def of(self, *, record_id: str, principal: Principal) -> Transcribe:
        return structs.replace(self.prompt, id=record_id, user=str(principal.user_id))


class HearingEndpoint(FormEndpoint):
    methods = ("POST",)
    needs = Scope.GENERATE

    @abstractmethod
    def parse(self, upload: Upload, context: RequestContext) -> tuple[Hearing, Wish]:
        """What the form asks for, and how the answer is to be worded. Raises ApiError; fills in `context.ignored`. Not
        for the event loop: it reads files."""

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        with self.kept:
            hearing, wish = await asyncio.to_thread(self.parse, self.upload(), context)
        refuse_ignored(context)
        await (self._stream if hearing.stream else self._whole)(context, hearing, wish)

    async def _whole(self, context: RequestContext, hearing: Hearing, wish: Wish) -> None:
        async with running(runtime.current(), context, self.principal, hearing) as run:
            async for step in run:
                if step.finished is not None:
                    # An engine answers what it was asked.
                    assert isinstance(run.result, Transcribed)
                    kind, answer = worded(run.result, wish)
                    headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
                    await self.send_response(200, answer, headers=headers)

    async def _stream(self, context: RequestContext, hearing: Hearing, wish: Wish) -> None:
        async with (
            EventStream(self.send) as stream,
            running(runtime.current(), context, self.principal, hearing) as run,
        ):
            async for step in run:
                said = events_of(step, run.result if step.finished is not None else None)
                if said:
                    events = b"".join(event(encode(each)) for each in said)
                    await stream.write(events, last=step.finished is not None)


class Transcriptions(HearingEndpoint):
    def parse(self, upload: Upload, context: RequestContext) -> tuple[Hearing, Wish]:
        form, sound, context.ignored = read_form(upload, TranscriptionForm)
        wish = Wish("transcribe", form.response_format or "json", tuple(form.timestamp_granularities or ["segment"]))
        if form.timestamp_granularities and wish.format != "verbose_json":
            raise errors.invalid(f"`{GRANULARITIES}` needs `response_format: verbose_json`.", param=GRANULARITIES)
        if form.stream and wish.format not in ("json", "text"):
            raise errors.invalid(
                f"`response_format`: {wish.format} can't be streamed; json can.", param="response_format"
            )
        prompt = Transcribe(
            "",
            Media(sound, "file"),
            language=form.language,
            prompt=form.prompt,
            temperature=form.temperature or 0.0,
            words="word" in wish.granularities,
            stream=bool(form.stream),
        )
        return Hearing("audio.transcriptions", form.model, prompt, prompt.stream), wish


class Translations(HearingEndpoint):
    def parse(self, upload: Upload, context: RequestContext) -> tuple[Hearing, Wish]:
        form, sound, context.ignored = read_form(upload, TranslationForm)
        prompt = Transcribe(
            "", Media(sound, "file"), task="translate", prompt=form.prompt, temperature=form.temperature or 0.0
        )
        wish = Wish("translate", form.response_format or "json", ("segment",))
        return Hearing("audio.translations", form.model, prompt, stream=False), wish
