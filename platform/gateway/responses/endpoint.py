"""`/v1/responses` and what is below it."""

import logging
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from accounts.models import Scope
from gateway import errors, runtime
from gateway.answers import Wording, encode
from gateway.context import RequestContext, of
from gateway.endpoint import GenerationEndpoint, KeyedEndpoint, Parsed, refuse_ignored
from gateway.responses import store
from gateway.responses.given import read_items, references
from gateway.responses.items import Ids, Item
from gateway.responses.request import INCLUDABLE, CreateRequest, ask_of, read
from gateway.responses.wording import ResponseAnswers, in_our_words

logger = logging.getLogger(__name__)

MOST_LISTED = 100
LISTED = 20


class Responses(GenerationEndpoint):
    request: CreateRequest
    ids: Ids
    items: list[Item]
    """The whole conversation."""
    before: int
    """How many of the items come from a stored response."""

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        context.error_body = lambda error: in_our_words(error).body()
        self.request, context.ignored = read(body)
        self.ids = Ids(context.record_id)
        await self._recall()
        await super().handle(body)

    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        ask = ask_of(self.request, self.items, before=self.before)
        return ask, lambda stamp: ResponseAnswers(stamp, self.request, self.ids)

    async def concluded(self, wording: Wording) -> None:
        """Stores the response before its client can refer to it."""
        assert isinstance(wording, ResponseAnswers) and wording.final is not None
        if not self.request.stores:
            return
        try:
            await store.keep(runtime.current(), self.principal, wording.final, self.items)
        except Exception as error:
            # It has been generated and is paid for: better an answer that can't be continued than none.
            logger.error("%s could not be stored: %s", wording.final.id, type(error).__name__)

    async def _recall(self) -> None:
        """Puts the conversation together. Raises ApiError for what is not stored, or not for this owner."""
        given = self.request.input or []
        previous = self.request.previous_response_id
        referred = references(given)
        wanted = {*referred.values(), *([] if previous is None else [previous])}
        found = await store.recall(runtime.current(), self.principal, wanted) if wanted else {}
        history: list[Item] = []
        if previous is not None:
            if previous not in found:
                raise errors.previous_response_not_found(previous)
            history = [*found[previous].input, *found[previous].output]
        stored = {item.id: item for kept in found.values() for item in (*kept.input, *kept.output)}
        self.before = len(history)
        self.items = [*history, *read_items(given, self.ids, stored)]


class StoredEndpoint(KeyedEndpoint):
    """One that is about a stored response."""

    needs = Scope.GENERATE
    parameters: tuple[str, ...] = ()
    """Those of the query that it knows."""

    @property
    def id(self) -> str:
        id: str = self.scope["url_route"]["kwargs"]["id"]
        return id

    def query(self) -> dict[str, list[str]]:
        """The query's parameters. Raises ApiError for bytes that are no text."""
        try:
            pairs = parse_qsl(self.scope["query_string"].decode(), keep_blank_values=True, errors="strict")
        except ValueError:
            raise errors.invalid("The query of the URL is not valid UTF-8 or has too many parameters.") from None
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            found.setdefault(name.removesuffix("[]"), []).append(value)
        context = of(self.scope)
        context.ignored = [name for name in found if name not in self.parameters]
        refuse_ignored(context)
        for name in found.get("include", []):
            if name not in INCLUDABLE:
                can = " and ".join(INCLUDABLE)
                raise errors.not_supported("include", f"only {can} can be; they are wherever they were asked for")
        return found


class StoredResponses(StoredEndpoint):
    """`GET` and `DELETE /v1/responses/{id}`."""

    methods = ("GET", "HEAD", "DELETE")
    parameters = ("include", "stream", "starting_after", "include_obfuscation")

    async def handle(self, body: bytes) -> None:
        query = self.query()
        if self.scope["method"] == "DELETE":
            await self._delete()
            return
        if query.get("stream", ["false"])[-1] != "false":
            raise errors.not_supported("stream", "a stored response is answered whole; leave it out")
        response = await store.response_of(runtime.current(), self.principal, self.id)
        if response is None:
            raise errors.response_not_found(self.id)
        await self.answer(response)

    async def _delete(self) -> None:
        if not await store.forget(runtime.current(), self.principal, self.id):
            raise errors.response_not_found(self.id)
        await self.answer(encode(Deleted(self.id)))


class Deleted(Struct):
    id: str
    object: str = "response"
    deleted: bool = True


class InputItems(StoredEndpoint):
    """`GET /v1/responses/{id}/input_items`: a page of what the model was shown, the latest first unless asked
    otherwise."""

    parameters = ("include", "after", "limit", "order")

    async def handle(self, body: bytes) -> None:
        query = self.query()
        limit = _limit(query.get("limit", [str(LISTED)])[-1])
        order = query.get("order", ["desc"])[-1]
        if order not in ("asc", "desc"):
            raise errors.invalid("`order` must be asc or desc.", param="order")
        items = await store.input_of(runtime.current(), self.principal, self.id)
        if items is None:
            raise errors.response_not_found(self.id)
        ids = [msgspec.json.decode(item, type=_WithId).id for item in items]
        if order == "desc":
            items, ids = items[::-1], ids[::-1]
        start = 0
        if "after" in query:
            after = query["after"][-1]
            if after not in ids:
                raise errors.invalid(f"`after`: this response has no input item {errors.quote(after)}.", param="after")
            start = ids.index(after) + 1
        page = slice(start, start + limit)
        await self.answer(encode(ItemList.of(items[page], ids[page], has_more=len(items) > start + limit)))


class _WithId(Struct):
    id: str


class ItemList(Struct, kw_only=True):
    object: str = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: list[msgspec.Raw], ids: list[str], *, has_more: bool) -> "ItemList":
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        # As they are stored: encoded.
        return cls(data=items, first_id=first, last_id=last, has_more=has_more)  # type: ignore[arg-type]


def _limit(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= MOST_LISTED):
        raise errors.invalid(f"`limit` must be a whole number from 1 to {MOST_LISTED}.", param="limit")
    return int(given)


class CancelResponse(StoredEndpoint):
    """`POST /v1/responses/{id}/cancel`: of use only for what runs in the background, and nothing does yet."""

    methods = ("POST",)

    async def handle(self, body: bytes) -> None:
        self.query()
        if await store.response_of(runtime.current(), self.principal, self.id) is None:
            raise errors.response_not_found(self.id)
        raise errors.invalid(
            "This response is complete: only one that runs in the background can be cancelled, and `background` is not "
            "supported here yet. Closing its connection, or `DELETE /v1/requests/{id}`, stops one that is generated."
        )
