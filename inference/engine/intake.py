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
from inference.engine.asked import Asked
from inference.engine.output import Output, Say, Subscribe
from inference.engine.prepare import Refusal
from inference.engine.reception import Reception

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CancelRequest:
    client: bytes
    id: str


@dataclass(slots=True)
class ProceedRequest:
    """It was held, and may begin."""

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


@dataclass(slots=True)
class KeepRequest:
    """What is cached of these beginnings of prompts, in tokens, is to stay; of others no longer."""

    client: bytes
    prefixes: list[tuple[int, ...]]


SLOW_THREADS = 2
"""Compile grammars, tokenise long inputs and have media decoded: nobody else waits for them."""

Work = Asked | KeepRequest | CancelRequest | ProceedRequest | CancelClient | ReconcileRequest
"""What the step thread receives."""


class Intake:
    """Owns the intake socket. submit: hands work to the step thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        reception: Reception,
        ready: protocol.Ready,
        submit: Callable[[Work], None],
        output: Output,
    ) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._socket.router_handover = True
        self._socket.rcvhwm = 0
        self._socket.bind(address)
        self._reception = reception
        self._ready = ready
        self._submit = submit
        self._output = output
        self._slow = ThreadPoolExecutor(SLOW_THREADS, "slow")
        self._preparing: dict[tuple[bytes, str], bool] = {}
        """Requests that the slow threads prepare, and whether they have been cancelled meanwhile."""
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
            case protocol.Generate() | protocol.Embed() | protocol.Rerank() | protocol.Transcribe() | protocol.Speak():
                if message.instance not in ("", self._ready.instance):
                    return
                if self._reception.needs_time(message):
                    self._preparing[client, message.id] = False
                    self._slow.submit(self._prepare, client, message)
                else:
                    self._prepare(client, message)
            case protocol.Count(request):
                if request.instance not in ("", self._ready.instance):
                    return
                if self._reception.needs_time(request):
                    self._slow.submit(self._count, client, request)
                else:
                    self._count(client, request)
            case protocol.Share(texts):
                self._submit(KeepRequest(client, self._reception.share(client, texts)))
            case protocol.Cancel(id):
                if (client, id) in self._preparing:
                    self._preparing[client, id] = True
                self._submit(CancelRequest(client, id))
            case protocol.Proceed(id):
                self._submit(ProceedRequest(client, id))
            case protocol.Reconcile(ids):
                self._submit(ReconcileRequest(client, ids))

    def _count(self, client: bytes, request: protocol.Generate) -> None:
        try:
            event: protocol.Event = protocol.Counted(request.id, self._reception.count(request))
        except Exception as error:
            event = _failed(request, error)
        self._output.put(Say(client, event))

    def _prepare(self, client: bytes, request: protocol.Request) -> None:
        try:
            prepared = self._reception.prepare(client, request)
        except Exception as error:
            self._output.put(Say(client, _failed(request, error)))
        else:
            self._output.put(Say(client, protocol.Accepted(request.id, prepared.prompt_tokens)))
            for work in prepared.work:
                self._submit(work)
            if self._preparing.get((client, request.id)):
                self._submit(CancelRequest(client, request.id))
        finally:
            self._preparing.pop((client, request.id), None)


def _failed(request: protocol.Request, error: Exception) -> protocol.Failed:
    """Why a request can't be prepared. One odd request must not take the thread that receives all others with it."""
    if isinstance(error, Refusal):
        return protocol.Failed(request.id, error.code, error.message, error.param)
    log.error("request %s can't be prepared", request.id, exc_info=error)
    return protocol.Failed(request.id, "engine_error", "The engine could not prepare this request.")
