"""Runs one engine process: `python -m inference.engine --model FOLDER_OR_ID --name NAME --endpoint ipc://…`."""

import argparse
import gc
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable

import zmq

from inference.engine import protocol
from inference.engine.intake import CancelClient, Intake
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError
from inference.engine.options import (
    OPTIONS_REFUSED,
    EngineOptions,
    OptionError,
    add_arguments,
    changed,
    given,
    make,
)
from inference.engine.output import Output
from inference.engine.post import SocketPost
from inference.engine.service import SERVICES, load_service


def main(argv: list[str] | None = None) -> int:
    arguments, options = parse(argv)
    logging.basicConfig(level=arguments.log_level, format="%(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    intake_address, output_address = protocol.addresses(arguments.endpoint)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    parent = int(os.environ.get(protocol.PARENT) or os.getppid())

    def check_parent() -> None:
        if os.getppid() != parent:
            # The supervisor died without a word. There is nothing to save here, and no one left to serve.
            os._exit(1)

    def output_of(bytes_of: Callable[[int], bytes]) -> Output:
        return Output(
            SocketPost(context, output_address),
            gone=lambda client: core.submit(CancelClient(client)),
            bytes_of=bytes_of,
            # A new process is better than a mute one.
            failed=lambda: os._exit(1),
            beat=check_parent,
            interval=options.stream_interval,
        )

    kind = arguments.kind or kind_of(arguments.model)
    try:
        service = load_service(arguments.model, arguments.name, kind, options, output_of)
    except ModelError as error:
        print(error, file=sys.stderr)
        return protocol.LOAD_FAILED
    except OptionError as error:
        # What only the model's own shape could tell.
        print(error, file=sys.stderr)
        return OPTIONS_REFUSED
    core, output = service.core, service.output
    ready = protocol.Ready(
        instance=uuid.uuid4().hex,
        model=arguments.name,
        context_length=service.context_length,
        pid=os.getpid(),
        has_chat_template=service.has_chat_template,
        batching=core.batching,
        batching_reason=core.batching_reason,
        kind=kind,
        modalities=list(service.modalities),
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
