"""`POST /v1/audio/speech`: a text in, a file of sound out, as it is made."""

import base64
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from accounts.authentication import Principal
from accounts.models import Scope
from gateway import errors, runtime
from gateway.answers import encode
from gateway.audio.transcript import TokenUsage, tokens_of
from gateway.body import decode, without_effect
from gateway.context import RequestContext, of
from gateway.endpoint import KeyedEndpoint, refuse_ignored
from gateway.generation import running
from gateway.sse import EventStream, event
from inference.engine.protocol import AudioDelta, AudioFormat, Speak

LONGEST_TEXT = 4096
DEFAULT_VOICE = "default"
"""What a model speaks with by itself."""
CONTENT_TYPES: dict[AudioFormat, bytes] = {
    "mp3": b"audio/mpeg", "opus": b"audio/ogg", "aac": b"audio/aac", "flac": b"audio/flac", "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}  # fmt: skip


class VoiceId(Struct):
    id: str


class SpeechRequest(Struct, kw_only=True):
    model: str
    input: Annotated[str, Meta(max_length=LONGEST_TEXT)]
    voice: str | VoiceId
    """One of `GET /v1/audio/voices`; `default` is whichever the model takes by itself."""
    instructions: Annotated[str, Meta(max_length=LONGEST_TEXT)] | None = None
    response_format: AudioFormat | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["sse", "audio"] | None = None


class SpeechDelta(Struct, kw_only=True):
    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str
    """In base64: all of them, one behind the other, are one file."""


class SpeechDone(Struct, kw_only=True):
    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: TokenUsage


read_request = msgspec.json.Decoder(SpeechRequest)


@dataclass(frozen=True, slots=True)
class Speaking:
    """What a client wants to be spoken; see `gateway.ask.Asked`."""

    model: str
    prompt: Speak
    """All but what only a running request has."""
    stream: bool
    """As events."""
    endpoint: str = "audio.speech"
    prompt_param: str = "input"
    choices: int = 0
    tier: None = None

    def most_tokens(self) -> int:
        return 0

    def estimated_prompt_tokens(self) -> int:
        return len(self.prompt.text)

    def of(self, *, record_id: str, principal: Principal) -> Speak:
        return structs.replace(self.prompt, id=record_id, user=str(principal.user_id))


class Speech(KeyedEndpoint):
    methods = ("POST",)
    needs = Scope.GENERATE

    def parse(self, body: bytes, context: RequestContext) -> Speaking:
        """Raises ApiError; fills in `context.ignored`."""
        request, fields = decode(body, read_request)
        context.ignored = without_effect(fields, SpeechRequest.__struct_fields__)
        if not request.input.strip():
            raise errors.invalid("`input` is empty; it needs a text.", param="input")
        voice = request.voice if isinstance(request.voice, str) else request.voice.id
        prompt = Speak(
            "",
            request.input,
            voice="" if voice == DEFAULT_VOICE else voice,
            instructions=request.instructions,
            format=request.response_format or "mp3",
            speed=1.0 if request.speed is None else request.speed,
        )
        if not voice:
            raise errors.invalid("`voice` is empty; `GET /v1/audio/voices` lists them.", param="voice")
        return Speaking(request.model, prompt, request.stream_format == "sse")

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        speaking = self.parse(body, context)
        refuse_ignored(context)
        await (self._events if speaking.stream else self._file)(context, speaking)

    async def _file(self, context: RequestContext, speaking: Speaking) -> None:
        """Nothing leaves before the first of it is there, so that what fails early is an error."""
        begun = False
        async with running(runtime.current(), context, self.principal, speaking) as run:
            async for step in run:
                data = b"".join(piece.data for piece in step.pieces if isinstance(piece, AudioDelta))
                if not begun and data:
                    begun = True
                    await self.send_headers(headers=[(b"content-type", CONTENT_TYPES[speaking.prompt.format])])
                if data or step.finished is not None:
                    await self.send_body(data, more_body=step.finished is None)

    async def _events(self, context: RequestContext, speaking: Speaking) -> None:
        async with (
            EventStream(self.send) as stream,
            running(runtime.current(), context, self.principal, speaking) as run,
        ):
            async for step in run:
                said: list[SpeechDelta | SpeechDone] = [
                    SpeechDelta(audio=base64.b64encode(piece.data).decode())
                    for piece in step.pieces
                    if isinstance(piece, AudioDelta)
                ]
                if step.finished is not None:
                    said.append(SpeechDone(usage=tokens_of(step.finished.tally)))
                if said:
                    events = b"".join(event(encode(each)) for each in said)
                    await stream.write(events, last=step.finished is not None)
