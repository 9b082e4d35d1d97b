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
from inference.engine.blas import choose_threads
from inference.engine.core import Core
from inference.engine.intake import CancelClient, Intake
from inference.engine.model import ModelError, load_model
from inference.engine.output import Output
from inference.engine.scheduler import Scheduler


def main(argv: list[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    logging.basicConfig(level=options.log_level, format="%(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    try:
        model = load_model(options.model, options.name)
        choose_threads(model.model)
    except ModelError as error:
        print(error, file=sys.stderr)
        return protocol.LOAD_FAILED
    scheduler = Scheduler(
        max_rows=options.max_num_seqs, max_waiting=options.max_waiting, max_stall=options.max_stall_ms / 1000
    )
    intake_address, output_address = protocol.addresses(options.endpoint)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    output = Output(context, output_address, gone=lambda client: core.submit(CancelClient(client)))
    core = Core(model, scheduler, output)
    output.stats = core.stats
    ready = protocol.Ready(
        instance=uuid.uuid4().hex,
        model=model.name,
        context_length=model.context_length,
        pid=os.getpid(),
        has_chat_template=model.has_chat_template,
    )
    intake = Intake(context, intake_address, model=model, ready=ready, submit=core.submit, output=output)
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


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="inference.engine", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder or a Hugging Face id")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--endpoint", required=True, help="where to listen: ipc://PATH")
    parser.add_argument("--max-num-seqs", type=int, default=32, help="rows that decode at once")
    parser.add_argument("--max-waiting", type=int, default=1024, help="requests that may queue; the next is refused")
    parser.add_argument("--max-stall-ms", type=float, default=100, help="how long a prefill may hold up decoding rows")
    parser.add_argument("--log-level", default="INFO")
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The intake thread sits in a receive and MLX's threads in C++: nothing is left that an orderly exit would save.
    os._exit(code)
