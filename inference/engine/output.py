"""The output thread: tokens to text, stop strings, and everything that the engine sends."""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

import zmq
from msgspec import structs

from inference.engine import protocol
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
REMEMBERED_TALLIES = 10_000


@dataclass(slots=True)
class Say:
    """An event for one client, as it is."""

    client: bytes
    event: protocol.Event


@dataclass(slots=True)
class Subscribe:
    """This client gets `Stats` from now on."""

    client: bytes


@dataclass(slots=True)
class Tokens:
    """One decode step's tokens."""

    rows: list[tuple[Sequence, int]]


@dataclass(slots=True)
class End:
    """A sequence's end. `counted` tokens that have no text (an end-of-turn token) belong to its bill."""

    sequence: Sequence
    reason: protocol.FinishReason
    counted: int = 0


@dataclass(slots=True)
class Failure:
    sequence: Sequence
    code: protocol.FailureCode
    message: str


@dataclass(slots=True)
class Recall:
    """This client asks for the tallies of requests that ended before."""

    client: bytes
    ids: list[str]


Item = Say | Subscribe | Tokens | End | Failure | Recall | None


class Output:
    """Owns the output socket. The other threads put items; a None ends the thread.

    interval: tokens per delta of an answer, the first token excepted.  stats: what the heartbeat reports.  gone: called
    with a client that can't be reached any more.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, gone: Callable[[bytes], None], interval: int = 1
    ) -> None:
        self._interval = interval
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.stats: Callable[[], protocol.Stats] | None = None
        self._gone = gone
        self._socket = context.socket(zmq.ROUTER)
        # A client that went away shows as an error instead of silence; one that came back takes over its name.
        self._socket.router_mandatory = True
        self._socket.router_handover = True
        self._socket.sndhwm = 0
        self._socket.linger = 500
        self._socket.bind(address)
        self._subscribers: set[bytes] = set()
        self._pending: dict[bytes, list[protocol.Event]] = {}
        self._tallies: OrderedDict[str, protocol.Tally] = OrderedDict()
        self._charged_prompt = self._charged_completion = 0
        self._parent = os.getppid()
        self.thread = threading.Thread(target=self._run, name="output", daemon=True)

    def put(self, item: Item) -> None:
        self.items.put(item)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            # Without this thread nobody hears of the engine any more; a new process is better than a mute one.
            log.exception("the output thread failed")
            os._exit(1)

    def _serve(self) -> None:
        beat = monotonic()
        while True:
            try:
                item = self.items.get(timeout=max(0.0, beat - monotonic()))
                while True:
                    if item is None:
                        self._flush()
                        self._socket.close()
                        return
                    self._handle(item)
                    item = self.items.get_nowait()
            except Empty:
                pass
            if monotonic() >= beat:
                beat = monotonic() + HEARTBEAT_SECONDS
                self._heartbeat()
            self._flush()

    def _handle(self, item: Item) -> None:
        match item:
            case Tokens(rows):
                for sequence, token in rows:
                    self._token(sequence, token)
            case End(sequence, reason, counted):
                self._end(sequence, reason, counted)
            case Failure(sequence, code, message):
                if not sequence.closed:
                    self._speak(sequence)
                    failed = protocol.Failed(sequence.id, code, message, tally=self._close(sequence))
                    self._say(sequence.client, failed)
            case Say(client, event):
                self._say(client, event)
            case Subscribe(client):
                self._subscribers.add(client)
            case Recall(client, ids):
                known = {id: self._tallies[id] for id in ids if id in self._tallies}
                self._say(client, protocol.Reconciled(known))

    def _token(self, sequence: Sequence, token: int) -> None:
        if sequence.closed:
            return
        if not sequence.announced:
            self._announce(sequence)
        sequence.counted += 1
        sequence.unsaid += sequence.stops.push(sequence.detokenizer.step(token))
        sequence.unsaid_tokens += 1
        loop = sequence.loops.push(token) if sequence.loops is not None else None
        if sequence.stops.matched is None and loop is None:
            if sequence.unsaid_tokens >= self._interval or sequence.counted == 1:
                self._speak(sequence)
            return
        # The step thread sees the flag when it commits its next step; until then its tokens are dropped here.
        sequence.ended = True
        if sequence.stops.matched is None:
            sequence.unsaid += sequence.stops.push(sequence.detokenizer.flush()) + sequence.stops.flush()
        self._speak(sequence)
        self._finish(sequence, "stop", None if sequence.stops.matched is not None else loop)

    def _speak(self, sequence: Sequence) -> None:
        """Sends what it has said since the last time."""
        if sequence.unsaid or sequence.unsaid_tokens:
            self._say(sequence.client, protocol.Delta(sequence.id, sequence.unsaid, sequence.unsaid_tokens))
            sequence.unsaid, sequence.unsaid_tokens = "", 0

    def _end(self, sequence: Sequence, reason: protocol.FinishReason, counted: int) -> None:
        if sequence.closed:
            return
        if counted and not sequence.announced:
            self._announce(sequence)
        sequence.counted += counted
        sequence.unsaid += sequence.stops.push(sequence.detokenizer.flush()) + sequence.stops.flush()
        sequence.unsaid_tokens += counted
        self._speak(sequence)
        self._finish(sequence, "stop" if sequence.stops.matched is not None else reason)

    def _announce(self, sequence: Sequence) -> None:
        sequence.announced = True
        sequence.first_token = perf_counter()
        started = sequence.started or sequence.first_token
        event = protocol.FirstToken(
            sequence.id,
            queue_ms=(started - sequence.received) * 1e3,
            engine_ms=(sequence.first_token - sequence.received) * 1e3,
        )
        self._say(sequence.client, event)

    def _finish(self, sequence: Sequence, reason: protocol.FinishReason, repetition: str | None = None) -> None:
        event = protocol.Finished(
            sequence.id, reason, self._close(sequence), sequence.stops.matched, repetition=repetition
        )
        self._say(sequence.client, event)

    def _close(self, sequence: Sequence) -> protocol.Tally:
        sequence.closed = True
        tally = self._tallies[sequence.id] = sequence.tally()
        self._charged_prompt += tally.prompt_tokens
        self._charged_completion += tally.completion_tokens
        if len(self._tallies) > REMEMBERED_TALLIES:
            self._tallies.popitem(last=False)
        return tally

    def _say(self, client: bytes, event: protocol.Event) -> None:
        self._pending.setdefault(client, []).append(event)

    def _flush(self) -> None:
        for client, events in self._pending.items():
            try:
                self._socket.send_multipart([client, protocol.encode(events)], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                log.info("client %s can't be reached (%s): its requests end", client.decode(errors="replace"), error)
                self._subscribers.discard(client)
                self._gone(client)
        self._pending.clear()

    def _heartbeat(self) -> None:
        if os.getppid() != self._parent:
            # The supervisor died without a word. There is nothing to save here, and no one left to serve.
            os._exit(1)
        if self.stats is not None:
            stats = structs.replace(
                self.stats(),
                charged_prompt_tokens=self._charged_prompt,
                charged_completion_tokens=self._charged_completion,
            )
            for client in self._subscribers:
                self._say(client, stats)
