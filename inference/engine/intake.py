"""The intake thread: receives requests, makes prompts of them, refuses what can't run."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import zmq

from inference.engine import protocol
from inference.engine.model import LoadedModel
from inference.engine.output import Output, Say, Subscribe
from inference.engine.prepare import Limits, Refusal, count, needs_time, prepare
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CancelRequest:
    client: bytes
    id: str


@dataclass(slots=True)
class CancelClient:
    """The client is gone: end all of its requests."""

    client: bytes


@dataclass(slots=True)
class ReconcileRequest:
    client: bytes
    ids: list[str]


SLOW_THREADS = 2
"""Compile grammars: nobody else waits for them."""

Work = Sequence | CancelRequest | CancelClient | ReconcileRequest
"""What the step thread receives."""


class Intake:
    """Owns the intake socket. submit: hands work to the step thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        model: LoadedModel,
        ready: protocol.Ready,
        submit: Callable[[Work], None],
        output: Output,
        limits: Limits,
    ) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._socket.router_handover = True
        self._socket.rcvhwm = 0
        self._socket.bind(address)
        self._model = model
        self._ready = ready
        self._submit = submit
        self._output = output
        self._limits = limits
        self._slow = ThreadPoolExecutor(SLOW_THREADS, "grammars")
        self._preparing: dict[tuple[bytes, str], bool] = {}
        """Requests whose grammars are being compiled, and whether they have been cancelled meanwhile."""
        self.thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            # Without this thread nobody reaches the engine any more; a new process is better than a deaf one.
            log.exception("the intake thread failed")
            os._exit(1)

    def _serve(self) -> None:
        while True:
            client, body = self._socket.recv_multipart()
            try:
                message = protocol.decode_client_message(body)
            except msgspec.DecodeError as error:
                log.warning("a message that is not of this protocol was dropped: %s", error)
                continue
            self._handle(client, message)

    def _handle(self, client: bytes, message: protocol.ClientMessage) -> None:
        match message:
            case protocol.Hello():
                self._output.put(Subscribe(client))
                self._output.put(Say(client, self._ready))
            case protocol.Generate():
                if message.instance not in ("", self._ready.instance):
                    return
                if needs_time(message):
                    self._preparing[client, message.id] = False
                    self._slow.submit(self._generate, client, message)
                else:
                    self._generate(client, message)
            case protocol.Count(request):
                if request.instance in ("", self._ready.instance):
                    self._count(client, request)
            case protocol.Cancel(id):
                if (client, id) in self._preparing:
                    self._preparing[client, id] = True
                self._submit(CancelRequest(client, id))
            case protocol.Reconcile(ids):
                self._submit(ReconcileRequest(client, ids))

    def _count(self, client: bytes, request: protocol.Generate) -> None:
        try:
            event: protocol.Event = protocol.Counted(request.id, count(request, self._model))
        except Exception as error:
            event = _failed(request, error)
        self._output.put(Say(client, event))

    def _generate(self, client: bytes, request: protocol.Generate) -> None:
        try:
            prepared = prepare(client, request, self._model, self._limits)
        except Exception as error:
            self._output.put(Say(client, _failed(request, error)))
        else:
            self._output.put(Say(client, protocol.Accepted(request.id, prepared.prompt_tokens)))
            for sequence in prepared.sequences:
                self._submit(sequence)
            if self._preparing.get((client, request.id)):
                self._submit(CancelRequest(client, request.id))
        finally:
            self._preparing.pop((client, request.id), None)


def _failed(request: protocol.Generate, error: Exception) -> protocol.Failed:
    """Why a request can't be prepared. One odd request must not take the thread that receives all others with it."""
    if isinstance(error, Refusal):
        return protocol.Failed(request.id, error.code, error.message, error.param)
    log.error("request %s can't be prepared", request.id, exc_info=error)
    return protocol.Failed(request.id, "engine_error", "The engine could not prepare this request.")
