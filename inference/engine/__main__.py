"""Runs one engine process: `python -m inference.engine --model FOLDER_OR_ID --name NAME --endpoint ipc://…`."""

import argparse
import gc
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq

from inference.engine import protocol
from inference.engine.assembly import assemble
from inference.engine.blas import choose_threads
from inference.engine.core import Core
from inference.engine.intake import CancelClient, Intake
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError, load_model
from inference.engine.options import (
    OPTIONS_REFUSED,
    EngineOptions,
    OptionError,
    add_arguments,
    changed,
    given,
    make,
    resolved,
)
from inference.engine.output import Output
from inference.engine.prepare import Limits
from inference.engine.reception import Reception, TextReception
from inference.engine.traits import traits_of

if TYPE_CHECKING:
    from inference.engine.audio.core import AudioCore
    from inference.engine.encoder.core import EncoderCore

OutputOf = Callable[[Callable[[int], bytes]], Output]


@dataclass(frozen=True, slots=True)
class Service:
    """A loaded model that is ready to be asked."""

    core: "Core | EncoderCore | AudioCore"
    reception: Reception
    output: Output
    context_length: int
    traits: protocol.Traits
    has_chat_template: bool = False
    voices: list[str] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    arguments, options = parse(argv)
    logging.basicConfig(level=arguments.log_level, format="%(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    intake_address, output_address = protocol.addresses(arguments.endpoint)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def output_of(bytes_of: Callable[[int], bytes]) -> Output:
        return Output(
            context,
            output_address,
            gone=lambda client: core.submit(CancelClient(client)),
            bytes_of=bytes_of,
            interval=options.stream_interval,
        )

    kind = arguments.kind or kind_of(arguments.model)
    try:
        service = SERVICES[kind](arguments.model, arguments.name, kind, options, output_of)
    except ModelError as error:
        print(error, file=sys.stderr)
        return protocol.LOAD_FAILED
    except OptionError as error:
        # What only the model's own shape could tell.
        print(error, file=sys.stderr)
        return OPTIONS_REFUSED
    core, output = service.core, service.output
    output.stats = core.stats
    ready = protocol.Ready(
        instance=uuid.uuid4().hex,
        model=arguments.name,
        context_length=service.context_length,
        pid=os.getpid(),
        has_chat_template=service.has_chat_template,
        batching=core.batching,
        batching_reason=core.batching_reason,
        kind=kind,
        traits=service.traits,
        voices=service.voices,
        options=changed(options),
    )
    intake = Intake(
        context, intake_address, reception=service.reception, ready=ready, submit=core.submit, output=output
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: core.stop())
    # What has been loaded stays; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    output.thread.start()
    intake.thread.start()
    logging.getLogger(__name__).info("%s serves: context %d tokens", ready.model, ready.context_length)
    core.run()
    output.put(None)
    output.thread.join(timeout=2)
    return 0


def text_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """Raises ModelError, OptionError."""
    model = load_model(
        source, name, kind=kind, tool_parser=options.tool_call_parser, reasoning_parser=options.reasoning_parser
    )
    choose_threads(model.model)
    output = output_of(model.bytes_of)
    core = assemble(model, options, output)
    reception = TextReception(model, limits(options, core))
    return Service(core, reception, output, model.context_length, model.traits, model.has_chat_template)


def encoder_service(
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


def audio_service(
    source: str, name: str, kind: protocol.ModelKind, options: EngineOptions, output_of: OutputOf
) -> Service:
    """Raises ModelError."""
    # As for encoders.
    from inference.engine.audio import service
    from inference.engine.audio.load import load_audio_model

    model, config = load_audio_model(source, name, kind)
    output = output_of(lambda token: b"")  # no tokens are said
    core, reception = service.assemble(model, options, output)
    return Service(core, reception, output, service.longest(model), traits_of(config), voices=model.voices)


SERVICES = {
    "text": text_service,
    "vision": text_service,
    "embedding": encoder_service,
    "reranker": encoder_service,
    "transcription": audio_service,
    "speech": audio_service,
}
"""By the kind of model."""


def limits(options: EngineOptions, core: Core) -> Limits:
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


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, EngineOptions]:
    """What this process is to serve, and how. Ends the process with OPTIONS_REFUSED where that makes no sense."""
    parser = argparse.ArgumentParser(prog="inference.engine", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="a folder or a Hugging Face id")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--endpoint", required=True, help="where to listen: ipc://PATH")
    parser.add_argument(
        "--kind",
        choices=tuple(SERVICES),
        help="what the model is for (default: told from its files)",
    )
    parser.add_argument("--log-level", default="INFO")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        return arguments, make(given(vars(arguments)))
    except OptionError as error:
        parser.error(str(error))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The intake thread sits in a receive and MLX's threads in C++: nothing is left that an orderly exit would save.
    os._exit(code)
