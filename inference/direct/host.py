"""An engine's threads in this process: one that steps, one that says what was drawn. The third, which reads requests in
an engine process, is whichever thread calls."""

import gc
import itertools
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from inference.direct.errors import EngineError, refused
from inference.engine import backend, protocol
from inference.engine.intake import CancelRequest
from inference.engine.options import EngineOptions
from inference.engine.output import Output
from inference.engine.prepare import Refusal
from inference.engine.service import Service, load_service

log = logging.getLogger(__name__)

CLIENT = b"direct"
JOIN_SECONDS = 30.0
"""A step that is under way when the engine is to end may take a while."""
_loading = threading.Lock()
"""Loading imports model code and replaces parts of it: one model at a time."""

Events = SimpleQueue[protocol.Event | None]
"""A request's; None: the engine is gone."""


class Desk:
    """Where events wait for whoever asked: the output thread's `Post`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: dict[str, Events] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(self, id: str) -> Events:
        """For a new request. Raises EngineError."""
        with self._lock:
            if self._closed:
                raise EngineError(f"{self._name} is closed; load() loads it again.")
            return self._waiting.setdefault(id, SimpleQueue())

    def leave(self, id: str) -> bool:
        """Nobody waits for it any more. Whether anybody did."""
        return self._waiting.pop(id, None) is not None

    def send(self, client: bytes, events: list[protocol.Event]) -> None:
        for event in events:
            id = getattr(event, "id", "")
            ended = isinstance(event, protocol.Finished | protocol.Failed)
            waiting = self._waiting.pop(id, None) if ended else self._waiting.get(id)
            if waiting is not None:
                waiting.put(event)

    def close(self) -> None:
        """No more requests, and none that waits. Harmless the second time."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
        for events in waiting.values():
            events.put(None)


class Host:
    """A loaded model. For any number of threads; what several ask at once runs in one batch."""

    def __init__(self, source: str, name: str, kind: protocol.ModelKind, options: EngineOptions):
        """Blocks until it is loaded. Raises ModelError, OptionError."""
        self._name, self._options = name, options
        self._numbers = itertools.count(1)
        self._desk = Desk(name)
        self._service: Service | None = None
        self._problem: BaseException | None = None
        self._loaded = threading.Event()
        self._steps = threading.Thread(target=self._run, args=(source, kind), name=f"step {name}", daemon=True)
        self._steps.start()
        self._loaded.wait()
        if self._problem is not None:
            raise self._problem

    @property
    def service(self) -> Service:
        """Raises EngineError."""
        service = self._service
        if service is None:
            raise EngineError(f"{self._name} is closed; load() loads it again.")
        return service

    def ask(self, request: protocol.Generate) -> tuple[str, Events]:
        """Starts it; its id, and where its events come, the last of which is Finished, Failed or None. Raises
        RequestError for what can't run, EngineError."""
        service = self.service
        request.id = f"direct-{next(self._numbers)}"
        try:
            prepared = service.reception.prepare(CLIENT, request)
        except Refusal as refusal:
            raise refused(refusal) from None
        events = self._desk.open(request.id)
        events.put(protocol.Accepted(request.id, prepared.prompt_tokens))
        for work in prepared.work:
            service.core.submit(work)
        return request.id, events

    def count(self, request: protocol.Generate) -> int:
        """Tokens of its prompt. Raises RequestError, EngineError."""
        try:
            return self.service.reception.count(request)
        except Refusal as refusal:
            raise refused(refusal) from None

    def cancel(self, id: str) -> None:
        """Nobody waits for it any more. Harmless when it has ended."""
        service = self._service
        if self._desk.leave(id) and service is not None:
            service.core.submit(CancelRequest(CLIENT, id))

    def close(self) -> None:
        """Ends the threads and lets the model go; calls under way raise EngineError. Harmless the second time."""
        self._desk.close()
        if (service := self._service) is not None:
            service.core.stop()
        if threading.current_thread() is not self._steps:
            self._steps.join(JOIN_SECONDS)

    def _run(self, source: str, kind: protocol.ModelKind) -> None:
        """The step thread, which makes and evaluates all arrays."""
        try:
            self._serve(source, kind)
        except BaseException as error:
            if self._loaded.is_set():
                log.exception("the step thread of %s failed", self._name)
            else:
                self._problem = error.with_traceback(None)
        finally:
            self._desk.close()
            gc.collect()
            backend.leave()
            self._loaded.set()

    def _serve(self, source: str, kind: protocol.ModelKind) -> None:
        with _loading:
            service = load_service(source, self._name, kind, self._options, self._output)
        service.output.thread.start()
        self._service = service
        self._loaded.set()
        try:
            service.core.run()
        finally:
            self._service = None
            service.output.put(None)
            service.output.thread.join(JOIN_SECONDS)

    def _output(self, bytes_of: Callable[[int], bytes]) -> Output:
        desk = self._desk
        interval = self._options.stream_interval
        return Output(desk, gone=lambda client: None, bytes_of=bytes_of, failed=desk.close, interval=interval)
