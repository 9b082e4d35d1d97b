"""A streamed response: OpenAI's events, in OpenAI's order, and the output items that they make."""

from msgspec import UNSET, Struct, structs

from gateway import sse
from gateway.answers import encode
from gateway.logprobs import Token, chat_logprobs
from gateway.responses.items import FunctionCall, Ids, Item, Message, OutputText, Reasoning, ReasoningText, Status
from gateway.responses.response import Response
from gateway.responses.sealed import seal
from inference.engine.protocol import CallDelta, Delta, Ended, TokenLogprob


class Event(Struct, kw_only=True):
    type: str
    sequence_number: int = 0


class ResponseEvent(Event, kw_only=True):
    """`response.created`, `.in_progress`, and how it ended."""

    response: Response


class ItemEvent(Event, kw_only=True):
    """`response.output_item.added` and `.done`."""

    output_index: int
    item: Item


class PartEvent(Event, kw_only=True):
    """`response.content_part.added` and `.done`. An item has one part."""

    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText


class TextDelta(Event, kw_only=True):
    type: str = "response.output_text.delta"
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: list[Token] = []


class TextDone(Event, kw_only=True):
    type: str = "response.output_text.done"
    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    logprobs: list[Token] = []


class ReasoningDelta(Event, kw_only=True):
    type: str = "response.reasoning_text.delta"
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str


class ReasoningDone(Event, kw_only=True):
    type: str = "response.reasoning_text.done"
    item_id: str
    output_index: int
    content_index: int = 0
    text: str


class ArgumentsDelta(Event, kw_only=True):
    type: str = "response.function_call_arguments.delta"
    item_id: str
    output_index: int
    delta: str


class ArgumentsDone(Event, kw_only=True):
    type: str = "response.function_call_arguments.done"
    item_id: str
    output_index: int
    name: str
    arguments: str


class Output:
    """The output items as they grow. One is open at a time: what belongs to another kind closes it.

    Each method returns the events that tell of what it did, ready to be sent.
    """

    def __init__(self, ids: Ids, *, logprobs: bool, sealed: bool) -> None:
        self.items: list[Item] = []
        self._ids = ids
        self._logprobs = logprobs
        self._sealed = sealed
        self._open: Message | Reasoning | FunctionCall | None = None
        self._pieces: list[str] = []
        """What the open item has said."""
        self._tokens: list[Token] = []
        self._untold: list[TokenLogprob] = []
        """Those of tokens that no text has come of yet."""
        self._sequence = 0

    def event(self, event: Event) -> bytes:
        event.sequence_number = self._sequence
        self._sequence += 1
        return sse.event(encode(event), event.type)

    def hear(self, delta: Delta) -> bytes:
        events = b""
        if self._logprobs:
            self._untold += delta.logprobs
        if delta.reasoning:
            events += self._think(delta.reasoning)
        if delta.text:
            events += self._say(delta.text)
        for call in delta.calls:
            events += self._call(call)
        return events

    def end(self, end: Ended) -> bytes:
        """The answer is complete, or was cut off."""
        events = b"" if self.items else self._begin(self._message())
        return events + self._close("incomplete" if end.reason == "length" else "completed")

    def so_far(self) -> list[Item]:
        """The items, the open one as far as it has got."""
        if self._open is None:
            return list(self.items)
        return [*self.items[:-1], self._filled(self._open, "incomplete")]

    # --- the kinds of items ------------------------------------------------------------------------------------------

    def _think(self, text: str) -> bytes:
        events = b""
        if not isinstance(self._open, Reasoning):
            events = self._begin(Reasoning(id=self._ids.item("rs"), status="in_progress"))
        item_id, at = self._place()
        self._pieces.append(text)
        return events + self.event(ReasoningDelta(item_id=item_id, output_index=at, delta=text))

    def _say(self, text: str) -> bytes:
        events = b""
        if not isinstance(self._open, Message):
            events = self._begin(self._message())
        item_id, at = self._place()
        self._pieces.append(text)
        told = self._told()
        return events + self.event(TextDelta(item_id=item_id, output_index=at, delta=text, logprobs=told))

    def _call(self, call: CallDelta) -> bytes:
        events = b""
        if call.name is not None:
            item = FunctionCall(
                id=self._ids.item("fc"), call_id=call.id or "", name=call.name, arguments="", status="in_progress"
            )
            events = self._begin(item)
        if not call.arguments:
            return events
        item_id, at = self._place()
        self._pieces.append(call.arguments)
        return events + self.event(ArgumentsDelta(item_id=item_id, output_index=at, delta=call.arguments))

    def _message(self) -> Message:
        return Message(id=self._ids.item("msg"), role="assistant", status="in_progress", content=[])

    def _told(self) -> list[Token]:
        told = chat_logprobs(self._untold).content
        self._untold = []
        self._tokens += told
        return told

    # --- their beginning and end -------------------------------------------------------------------------------------

    def _begin(self, item: Message | Reasoning | FunctionCall) -> bytes:
        events = self._close("completed")
        self._open = item
        self.items.append(item)
        item_id, at = self._place()
        events += self.event(ItemEvent(type="response.output_item.added", output_index=at, item=item))
        if isinstance(item, FunctionCall):
            return events
        part = OutputText("") if isinstance(item, Message) else ReasoningText("")
        return events + self.event(
            PartEvent(type="response.content_part.added", item_id=item_id, output_index=at, part=part)
        )

    def _close(self, status: Status) -> bytes:
        if self._open is None:
            return b""
        item_id, at = self._place()
        if isinstance(self._open, Message):
            self._told()
        item = self.items[-1] = self._filled(self._open, status)
        events = b""
        match item:
            case FunctionCall(arguments=arguments, name=name):
                events = self.event(ArgumentsDone(item_id=item_id, output_index=at, name=name, arguments=arguments))
            case Message(content=[OutputText(text=text, logprobs=logprobs) as part]):
                events = self.event(TextDone(item_id=item_id, output_index=at, text=text, logprobs=logprobs))
                events += self._part_done(item_id, at, part)
            case Reasoning(content=[ReasoningText(text=text) as part]):
                events = self.event(ReasoningDone(item_id=item_id, output_index=at, text=text))
                events += self._part_done(item_id, at, part)
        self._open, self._pieces, self._tokens = None, [], []
        return events + self.event(ItemEvent(type="response.output_item.done", output_index=at, item=item))

    def _part_done(self, item_id: str, at: int, part: OutputText | ReasoningText) -> bytes:
        return self.event(PartEvent(type="response.content_part.done", item_id=item_id, output_index=at, part=part))

    def _filled(self, item: Message | Reasoning | FunctionCall, status: Status) -> Item:
        """The open item with all that it has said."""
        said = "".join(self._pieces)
        match item:
            case FunctionCall():
                return structs.replace(item, arguments=said, status=status)
            case Message():
                return structs.replace(item, content=[OutputText(said, logprobs=self._tokens)], status=status)
            case Reasoning():
                sealed = seal(said) if self._sealed else UNSET
                return structs.replace(item, content=[ReasoningText(said)], encrypted_content=sealed, status=status)

    def _place(self) -> tuple[str, int]:
        """The open item's id and index."""
        return self.items[-1].id, len(self.items) - 1
