"""Runs one engine process: `python -m inference.engine --model FOLDER_OR_ID --name NAME --endpoint ipc://…`."""

import argparse
import gc
import logging
import os
import signal
import sys
import uuid

import zmq

from inference.engine import protocol
from inference.engine.assembly import assemble
from inference.engine.blas import choose_threads
from inference.engine.core import Core
from inference.engine.intake import CancelClient, Intake
from inference.engine.model import ModelError, load_model
from inference.engine.options import OPTIONS_REFUSED, EngineOptions, OptionError, add_arguments, given, make, resolved
from inference.engine.output import Output
from inference.engine.prepare import Limits


def main(argv: list[str] | None = None) -> int:
    arguments, options = parse(argv)
    logging.basicConfig(level=arguments.log_level, format="%(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    try:
        model = load_model(
            arguments.model,
            arguments.name,
            tool_parser=options.tool_call_parser,
            reasoning_parser=options.reasoning_parser,
        )
        choose_threads(model.model)
    except ModelError as error:
        print(error, file=sys.stderr)
        return protocol.LOAD_FAILED
    intake_address, output_address = protocol.addresses(arguments.endpoint)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    output = Output(
        context,
        output_address,
        gone=lambda client: core.submit(CancelClient(client)),
        bytes_of=model.bytes_of,
        interval=options.stream_interval,
    )
    try:
        core = assemble(model, options, output)
    except OptionError as error:
        # What only the model's own shape could tell.
        print(error, file=sys.stderr)
        return OPTIONS_REFUSED
    output.stats = core.stats
    ready = protocol.Ready(
        instance=uuid.uuid4().hex,
        model=model.name,
        context_length=model.context_length,
        pid=os.getpid(),
        has_chat_template=model.has_chat_template,
        batching=core.batching,
        batching_reason=core.batching_reason,
    )
    intake = Intake(
        context,
        intake_address,
        model=model,
        ready=ready,
        submit=core.submit,
        output=output,
        limits=limits(options, core),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: core.stop())
    # What has been loaded stays; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    output.thread.start()
    intake.thread.start()
    logging.getLogger(__name__).info("%s serves: context %d tokens", model.name, model.context_length)
    core.run()
    output.put(None)
    output.thread.join(timeout=2)
    return 0


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
