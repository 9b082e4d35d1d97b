"""`GET /v1/audio/voices`: what speech models can speak with."""

from msgspec import Struct

from gateway import runtime
from gateway.access import model_for, models_of
from gateway.answers import encode
from gateway.audio.speech import DEFAULT_VOICE
from gateway.endpoint import KeyedEndpoint
from gateway.health import PATIENCE_SECONDS
from gateway.paging import query_of
from inference.client import EngineUnavailable


class VoiceObject(Struct, kw_only=True):
    id: str
    object: str = "audio.voice"
    name: str
    model: str
    """That it belongs to."""


class VoiceList(Struct, kw_only=True):
    object: str = "list"
    data: list[VoiceObject]
    voices: list[VoiceObject]
    """The same, where other servers have it."""


class Voices(KeyedEndpoint):
    async def handle(self, body: bytes) -> None:
        gateway = runtime.current()
        name = query_of(self.scope, ("model",)).get("model")
        models = (
            await models_of(gateway, self.principal)
            if name is None
            else [await model_for(gateway, self.principal, name)]
        )
        found: list[VoiceObject] = []
        for model in models:
            if model.kind != "speech":
                continue
            try:
                ready = await gateway.engines.wait_ready(model.endpoint, PATIENCE_SECONDS)
            except EngineUnavailable:
                continue
            # A model takes one of its own accord, whether it names any or not.
            names = [DEFAULT_VOICE, *(voice for voice in ready.voices if voice != DEFAULT_VOICE)]
            found += [VoiceObject(id=each, name=each, model=model.name) for each in names]
        await self.answer(encode(VoiceList(data=found, voices=found)))
