"""The output thread: tokens to text, stop strings, and everything that the engine says."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

from msgspec import structs

from inference.engine import protocol
from inference.engine.post import Post, Unreachable
from inference.engine.sampling import TokenLogprobs
from inference.engine.sequence import Request, Sequence
from inference.engine.text.speech import Said

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
REMEMBERED_TALLIES = 10_000


@dataclass(slots=True)
class Say:
    """An event for one client, as it is."""

    client: bytes
    event: protocol.Event


@dataclass(slots=True)
class Conclude:
    """A request's last events, as they are; the tally of the last one is remembered."""

    client: bytes
    events: list[protocol.Event]
    end: protocol.Finished | protocol.Failed


@dataclass(slots=True)
class Subscribe:
    """This client gets `Stats` from now on."""

    client: bytes


@dataclass(slots=True)
class Tokens:
    """One decode step's tokens. logprobs: by place in `rows`, of those that asked."""

    rows: list[tuple[Sequence, int]]
    logprobs: dict[int, TokenLogprobs] = field(default_factory=dict)


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
    retry_after: float | None = None
    """As in `protocol.Failed`."""


@dataclass(slots=True)
class Recall:
    """This client asks for the tallies of requests that ended before."""

    client: bytes
    ids: list[str]


Item = Say | Conclude | Subscribe | Tokens | End | Failure | Recall | None


class Output:
    """What is said goes to `post`. The other threads put items; a None ends the thread.

    interval: tokens per delta of an answer, the first token excepted.  stats: what the heartbeat reports.  gone: called
    with a client that can't be reached any more.  bytes_of: of a token.  beat: called with every heartbeat.  failed:
    called when the thread has failed: from then on nobody hears of the engine.
    """

    def __init__(
        self,
        post: Post,
        *,
        gone: Callable[[bytes], None],
        bytes_of: Callable[[int], bytes],
        failed: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
        interval: int = 1,
    ) -> None:
        self._post = post
        self._bytes_of = bytes_of
        self._interval = interval
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.stats: Callable[[], protocol.Stats] | None = None
        self._gone = gone
        self._failed = failed
        self._beat = beat
        self._subscribers: set[bytes] = set()
        self._pending: dict[bytes, list[protocol.Event]] = {}
        self._tallies: OrderedDict[str, protocol.Tally] = OrderedDict()
        self._charged_prompt = self._charged_completion = 0
        self.thread = threading.Thread(target=self._run, name="output", daemon=True)

    def put(self, item: Item) -> None:
        self.items.put(item)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            log.exception("the output thread failed")
            self._failed()

    def _serve(self) -> None:
        beat = monotonic()
        while True:
            try:
                item = self.items.get(timeout=max(0.0, beat - monotonic()))
                while True:
                    if item is None:
                        self._flush()
                        self._post.close()
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
            case Tokens(rows, logprobs):
                for place, (sequence, token) in enumerate(rows):
                    self._token(sequence, token, logprobs.get(place))
            case End(sequence, reason, counted):
                self._end(sequence, reason, counted)
            case Failure(sequence, code, message, retry_after):
                request = sequence.request
                if not request.closed:
                    for each in request.sequences:
                        self._speak(each)
                        each.closed = True
                    failed = protocol.Failed(
                        request.id, code, message, tally=self._close(request), retry_after=retry_after
                    )
                    self._say(request.client, failed)
            case Say(client, event):
                self._say(client, event)
            case Conclude(client, events, end):
                self._remember(end.id, end.tally)
                for event in (*events, end):
                    self._say(client, event)
            case Subscribe(client):
                self._subscribers.add(client)
            case Recall(client, ids):
                known = {id: self._tallies[id] for id in ids if id in self._tallies}
                self._say(client, protocol.Reconciled(known))

    def _token(self, sequence: Sequence, token: int, logprobs: TokenLogprobs | None) -> None:
        if sequence.closed:
            return
        self._announce(sequence)
        sequence.counted += 1
        sequence.unsaid_tokens += 1
        thinking = sequence.speech.thinking
        self._hear(sequence, sequence.speech.push(token))
        sequence.thought += thinking or sequence.speech.thinking
        if logprobs is not None:
            sequence.unsaid_logprobs.append(self._told(token, logprobs))
        loop = sequence.loops.push(token) if sequence.loops is not None else None
        stopped = sequence.speech.matched is not None
        if not stopped and loop is None:
            if sequence.unsaid_tokens >= self._interval or sequence.counted == 1:
                self._speak(sequence)
            return
        # The step thread sees the flag when it commits its next step; until then its tokens are dropped here.
        sequence.ended = True
        if not stopped:
            self._hear(sequence, sequence.speech.flush())
        self._finish(sequence, "stop", None if stopped else loop)

    def _told(self, token: int, logprobs: TokenLogprobs) -> protocol.TokenLogprob:
        top = [protocol.TopLogprob(self._bytes_of(each), value) for each, value in logprobs.top]
        return protocol.TokenLogprob(self._bytes_of(token), logprobs.chosen, top)

    def _hear(self, sequence: Sequence, said: Said) -> None:
        sequence.unsaid += said.text
        sequence.unsaid_reasoning += said.reasoning
        sequence.unsaid_calls += said.calls

    def _speak(self, sequence: Sequence) -> None:
        """Sends what it has said since the last time."""
        if not (sequence.unsaid_tokens or sequence.unsaid or sequence.unsaid_reasoning or sequence.unsaid_calls):
            return
        delta = protocol.Delta(
            sequence.request.id,
            sequence.unsaid,
            sequence.unsaid_tokens,
            choice=sequence.index,
            reasoning=sequence.unsaid_reasoning,
            calls=sequence.unsaid_calls,
            logprobs=sequence.unsaid_logprobs,
        )
        self._say(sequence.client, delta)
        sequence.unsaid, sequence.unsaid_reasoning, sequence.unsaid_tokens = "", "", 0
        sequence.unsaid_calls, sequence.unsaid_logprobs = [], []

    def _end(self, sequence: Sequence, reason: protocol.FinishReason, counted: int) -> None:
        if sequence.closed:
            return
        if counted or sequence.echo:
            self._announce(sequence)
        sequence.counted += counted
        sequence.unsaid_tokens += counted
        self._hear(sequence, sequence.speech.flush(whole=reason == "stop"))
        self._finish(sequence, "stop" if sequence.speech.matched is not None else reason)

    def _announce(self, sequence: Sequence) -> None:
        """Its first token has come."""
        if sequence.first_token is not None:
            return
        sequence.first_token = perf_counter()
        sequence.unsaid = sequence.echo
        if sequence.scored is not None:
            first, *others = sequence.prompt
            told = [self._told(token, each) for token, each in zip(others, sequence.scored, strict=True)]
            sequence.unsaid_logprobs = [protocol.TokenLogprob(self._bytes_of(first), None), *told]
        request = sequence.request
        if request.announced:
            return
        request.announced = True
        started = sequence.started or sequence.first_token
        event = protocol.FirstToken(
            request.id,
            queue_ms=(started - sequence.received) * 1e3,
            engine_ms=(sequence.first_token - sequence.received) * 1e3,
            cached_tokens=request.tally().cached_tokens,
        )
        self._say(request.client, event)

    def _finish(self, sequence: Sequence, reason: protocol.FinishReason, repetition: str | None = None) -> None:
        self._speak(sequence)
        sequence.closed = True
        if reason == "stop" and sequence.speech.called and sequence.speech.matched is None:
            reason = "tool_calls"
        request = sequence.request
        ended = protocol.Ended(request.id, sequence.index, reason, sequence.speech.matched, repetition)
        self._say(request.client, ended)
        if all(each.closed for each in request.sequences):
            first = reason if request.reason is None else request.reason
            end = protocol.Finished(request.id, first, self._close(request), request.diagnosis())
            self._say(request.client, end)
        elif sequence.index == 0:
            request.reason = reason

    def _close(self, request: Request) -> protocol.Tally:
        request.closed = True
        tally = request.tally()
        self._remember(request.id, tally)
        return tally

    def _remember(self, id: str, tally: protocol.Tally) -> None:
        self._tallies[id] = tally
        self._charged_prompt += tally.prompt_tokens
        self._charged_completion += tally.completion_tokens
        if len(self._tallies) > REMEMBERED_TALLIES:
            self._tallies.popitem(last=False)

    def _say(self, client: bytes, event: protocol.Event) -> None:
        self._pending.setdefault(client, []).append(event)

    def _flush(self) -> None:
        for client, events in self._pending.items():
            try:
                self._post.send(client, events)
            except Unreachable as error:
                log.info("client %s can't be reached (%s): its requests end", client.decode(errors="replace"), error)
                self._subscribers.discard(client)
                self._gone(client)
        self._pending.clear()

    def _heartbeat(self) -> None:
        self._beat()
        if self.stats is not None:
            stats = structs.replace(
                self.stats(),
                charged_prompt_tokens=self._charged_prompt,
                charged_completion_tokens=self._charged_completion,
            )
            for client in self._subscribers:
                self._say(client, stats)
