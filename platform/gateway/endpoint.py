"""The base of every consumer: methods, keys and the two ways to answer."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from django.conf import settings

from accounts.authentication import Principal
from accounts.models import Scope
from gateway import access, errors, runtime
from gateway.answers import Stamp, Wording
from gateway.ask import Ask
from gateway.assembled import Answers
from gateway.context import RequestContext, of
from gateway.generation import running
from gateway.metering import show_standings
from gateway.sse import EventStream
from inference.engine.protocol import Delta

Parsed = tuple[Ask, Callable[[Stamp], Wording]]


class Endpoint(AsyncHttpConsumer):  # type: ignore[misc]  # channels has no types
    """Raises ApiError for the guard to answer. To be run under it only."""

    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Channels closes old connections here, in a thread, for each piece of a body. Ours are closed by whoever uses
        # them (database_sync_to_async).
        await getattr(self, get_handler_name(message))(message)

    async def http_request(self, message: dict[str, Any]) -> None:
        if not self.body:
            await self.admit()
        await super().http_request({**message, "body": await self.keep(message.get("body", b""))})

    async def http_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    async def admit(self) -> None:
        """All that can be refused before the body is read."""
        method = self.scope["method"]
        if method == "OPTIONS":
            await self.send_response(204, b"", headers=[(b"allow", self.allowed().encode())])
            raise StopConsumer
        if method not in self.methods:
            raise errors.method_not_allowed(method, self.allowed())

    async def keep(self, piece: bytes) -> bytes:
        """What of a piece of the body `handle` is to get."""
        return piece

    def allowed(self) -> str:
        return ", ".join((*self.methods, "OPTIONS"))

    async def answer(self, body: bytes, *, status: int = 200) -> None:
        """Sends one JSON body."""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send_response(status, body, headers=headers)


class KeyedEndpoint(Endpoint):
    """One that needs an API key."""

    principal: Principal
    needs: ClassVar[str] = Scope.MODELS
    """The scope that a key must have for it."""

    async def admit(self) -> None:
        await super().admit()
        key = api_key(self.scope["headers"])
        principal = await access.principal_of(runtime.current(), key, self.scope["path"])
        if principal is None:
            raise errors.invalid_api_key()
        self.principal = principal
        access.check(principal, self.needs, self.scope)
        await self.show_limits()

    async def show_limits(self) -> None:
        """Of the key, in the answer's headers."""
        await show_standings(runtime.current().limiter, of(self.scope), self.principal)


class MeteredEndpoint(KeyedEndpoint):
    """One whose requests count towards limits. What is reserved says how much is left, so that is looked up by itself
    only for a request which fails before."""

    async def admit(self) -> None:
        self._admitted = False
        await super().admit()
        self._admitted = True

    async def show_limits(self) -> None:
        if self._admitted and not of(self.scope).rate_limits:
            await super().show_limits()

    async def http_request(self, message: dict[str, Any]) -> None:
        try:
            await super().http_request(message)
        except errors.ApiError:
            await self.show_limits()
            raise


class GenerationEndpoint(MeteredEndpoint):
    """One that generates text: `parse` is all that a dialect adds."""

    methods = ("POST",)
    needs = Scope.GENERATE

    @abstractmethod
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        """What the body asks for, and how to word the answer. Raises ApiError; fills in `context.ignored`."""

    async def concluded(self, wording: Wording) -> None:
        """Called when the last of an answer has been worded, before it leaves."""

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        ask, wording_of = self.parse(body, context)
        refuse_ignored(context)
        if ask.stream:
            await self._stream(context, ask, wording_of)
        else:
            await self._whole(context, ask, wording_of)

    async def _whole(self, context: RequestContext, ask: Ask, wording_of: Callable[[Stamp], Wording]) -> None:
        answers = Answers(ask.choices)
        async with running(runtime.current(), context, self.principal, ask) as run:
            async for step in run:
                answers.add(step.events)
                if step.finished:
                    wording = wording_of(run.stamp)
                    whole = wording.whole(answers.all, step.finished)
                    await self.concluded(wording)
                    await self.answer(whole)

    async def _stream(self, context: RequestContext, ask: Ask, wording_of: Callable[[Stamp], Wording]) -> None:
        async with (
            EventStream(self.send) as events,
            running(runtime.current(), context, self.principal, ask) as run,
        ):
            wording = wording_of(run.stamp)
            context.error_event = getattr(wording, "failed", context.error_event)
            opened = False
            async for step in run:
                if not run.has_first_token and step.finished is None:
                    continue
                piece = b"" if opened else wording.opening()
                opened = True
                for event in step.events:
                    piece += wording.piece(event) if isinstance(event, Delta) else wording.ended(event)
                if step.finished:
                    piece += wording.closing(step.finished)
                    await self.concluded(wording)
                if piece:
                    await events.write(piece, last=step.finished is not None)


def refuse_ignored(context: RequestContext) -> None:
    """To be called when `context.ignored` is complete. Raises ApiError under --strict-parameters."""
    if settings.STRICT_PARAMETERS and context.ignored:
        raise errors.without_effect(context.ignored)


def api_key(headers: list[tuple[bytes, bytes]]) -> str:
    """The key of `Authorization: Bearer` or else of `x-api-key`; empty when there is none."""
    found = dict(headers)
    scheme, _, token = found.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return found.get(b"x-api-key", b"").decode("latin-1").strip()
