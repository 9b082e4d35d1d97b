"""The loop of the step thread: takes in what the other threads send, works while there is something to do, and sleeps
while there is not."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue

from inference.engine.asked import Asked
from inference.engine.intake import CancelClient, CancelRequest, KeepRequest, ProceedRequest, ReconcileRequest, Work
from inference.engine.output import Output, Recall

Wanted = Callable[[Asked], bool]


class StepLoop(ABC):
    """output: where the tallies are that a restarted client asks for."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self._stopping = False

    def submit(self, work: Work) -> None:
        """From any thread."""
        self._inbox.put(work)

    def stop(self) -> None:
        """From any thread or a signal handler: the loop ends after the step under way."""
        self._stopping = True
        self._inbox.put(None)

    def run(self) -> None:
        while not self._stopping:
            self._receive()
            self._turn()

    @property
    @abstractmethod
    def _busy(self) -> bool:
        """There is something to do, whatever comes."""

    @abstractmethod
    def _turn(self) -> None:
        """Does some of it, where there is any."""

    @abstractmethod
    def _idle(self) -> Work | None:
        """Blocks until there is work; None: to stop."""

    @abstractmethod
    def _add(self, asked: Asked, /) -> None:
        """Something new to do."""

    @abstractmethod
    def _keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        """What is cached of these beginnings of prompts is to stay; of others that it named before, no more."""

    @abstractmethod
    def _cancel(self, wanted: Wanted) -> None:
        """Ends those of these that are here."""

    def _proceed(self, wanted: Wanted) -> None:
        """Those of these that were held may begin. Who has no media holds nobody."""
        return

    def _receive(self) -> None:
        """Takes in all that has arrived; sleeps while there is nothing to do."""
        try:
            while True:
                work = self._inbox.get_nowait() if self._busy else self._idle()
                if work is None:
                    return
                self._take(work)
        except Empty:
            return

    def _take(self, work: Work) -> None:
        match work:
            case KeepRequest(client, prefixes):
                self._keep(client, prefixes)
            case CancelRequest(client, id):
                self._cancel(lambda each: each.request.id == id and each.client == client)
            case ProceedRequest(client, id):
                self._proceed(lambda each: each.request.id == id and each.client == client)
            case CancelClient(client):
                self._cancel(lambda each: each.client == client)
            case ReconcileRequest(client, ids):
                wanted = set(ids)
                self._cancel(lambda each: each.request.id in wanted)
                self._output.put(Recall(client, ids))
            case _:
                self._add(work)
