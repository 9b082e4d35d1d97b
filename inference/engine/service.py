"""A model, loaded and ready to be asked: what runs it, what reads its requests, what says its answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference.engine import protocol
from inference.engine.assembly import assemble
from inference.engine.blas import choose_threads
from inference.engine.core import Core
from inference.engine.model import load_model
from inference.engine.options import EngineOptions, resolved
from inference.engine.output import Output
from inference.engine.prepare import Limits
from inference.engine.reception import Reception, TextReception
from inference.engine.traits import traits_of

if TYPE_CHECKING:
    from inference.engine.audio.core import AudioCore
    from inference.engine.encoder.core import EncoderCore

OutputOf = Callable[[Callable[[int], bytes]], Output]
"""From what tells a token's bytes."""


@dataclass(frozen=True, slots=True)
class Service:
    core: "Core | EncoderCore | AudioCore"
    reception: Reception
    output: Output
    context_length: int
    traits: protocol.Traits
    has_chat_template: bool = False
    modalities: Sequence[str] = ("text",)
    """What prompts may be made of."""
    voices: list[str] = field(default_factory=list)


def load_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """To be called by the thread that will run the core. Raises ModelError, OptionError."""
    service = SERVICES[kind](source, name, kind, options, output_of)
    service.output.stats = service.core.stats
    return service


def _text_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """Raises ModelError, OptionError."""
    model = load_model(
        source, name, kind=kind, tool_parser=options.tool_call_parser, reasoning_parser=options.reasoning_parser
    )
    choose_threads(model.model)
    output = output_of(model.bytes_of)
    core = assemble(model, options, output)
    reception = TextReception(model, _limits(options, core))
    return Service(
        core, reception, output, model.context_length, model.traits, model.has_chat_template, model.modalities
    )


def _encoder_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """Raises ModelError."""
    # Another second of imports, for these models only.
    from inference.engine.encoder import service
    from inference.engine.encoder.load import load_encoder

    encoder = load_encoder(source, name, kind)
    output = output_of(lambda token: b"")  # nothing is generated
    core, reception = service.assemble(encoder, options, output)
    return Service(core, reception, output, encoder.context_length, encoder.traits)


def _audio_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """Raises ModelError."""
    # As for encoders.
    from inference.engine.audio import service
    from inference.engine.audio.load import load_audio_model

    model, config = load_audio_model(source, name, kind)
    output = output_of(lambda token: b"")  # no tokens are said
    core, reception = service.assemble(model, options, output)
    return Service(
        core, reception, output, service.longest(model), traits_of(config),
        modalities=("audio",) if kind == "transcription" else ("text",),
        voices=model.voices,
    )  # fmt: skip


SERVICES = {
    "text": _text_service,
    "vision": _text_service,
    "embedding": _encoder_service,
    "reranker": _encoder_service,
    "transcription": _audio_service,
    "speech": _audio_service,
}
"""By the kind of model."""


def _limits(options: EngineOptions, core: Core) -> Limits:
    """What intake has to know of the options."""
    effective = resolved(options)
    shortest = options.effective_context_tokens
    return Limits(
        default_max_tokens=options.max_tokens,
        max_thinking_tokens=options.max_thinking_tokens,
        greedy=effective.greedy,
        sampling=effective.sampling,
        timeout=options.timeout,
        loops=core.loops.detector,
        context=lambda length: core.memory.context_limit(min(length, shortest or length)),
    )
