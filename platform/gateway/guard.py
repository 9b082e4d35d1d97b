"""The ASGI wrapper around everything under `/v1` and `/health`. Nothing escapes it to the server.

Daphne breaks for good when an application raises after its response began, knows no body limit and no host check, and
channels' consumers don't see a disconnect while they work. So all of that is done here, once, for every endpoint.
"""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from gateway import errors, runtime, sse
from gateway.context import SCOPE_KEY, RequestContext
from gateway.errors import ApiError
from gateway.insist import finished

logger = logging.getLogger(__name__)

LONGEST_NUMBER = 18
"""Digits of a Content-Length; Python refuses to read thousands of them."""
FORM_BYTES = 64 * 1024
"""Of a form beside its file: fields, names and boundaries."""

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOADS = {
    "/v1/files": ("MAX_FILE_BYTES", "ATELIER_MAX_FILE_MB"),
    "/v1/audio/transcriptions": ("MAX_AUDIO_BYTES", "ATELIER_MAX_AUDIO_MB"),
    "/v1/audio/translations": ("MAX_AUDIO_BYTES", "ATELIER_MAX_AUDIO_MB"),
}
"""Where bodies are forms with a file, which has a limit of its own: its setting, and what the operator calls that."""


class Guard:
    """dialects: by how a path begins, what tells a context how errors are worded there, if not as OpenAI's are."""

    def __init__(
        self, application: Application, dialects: Mapping[str, Callable[[RequestContext], None]] | None = None
    ) -> None:
        self.application = application
        self.dialects = dialects or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = RequestContext.of_headers(scope["headers"])
        for prefix, speak in self.dialects.items():
            if scope["path"].startswith(prefix):
                speak(context)
        response = Response(send, context, without_body=scope["method"] == "HEAD")
        # A client may set root_path under Daphne, and then the router would look for our paths below it.
        scope = {**scope, "root_path": "", SCOPE_KEY: context}
        try:
            await self._answer(scope, Body(receive, scope["path"]), response, context)
        except Exception as error:
            # What the application raised has become an answer already: this is us, or the server's own `send`.
            log_crash(context, error)
            with contextlib.suppress(Exception):
                await response.fail(errors.internal(context.request_id))

    async def _answer(self, scope: Scope, body: "Body", response: "Response", context: RequestContext) -> None:
        gateway = runtime.current()
        if (refused := refusal(scope, gateway)) is not None:
            await response.fail(refused)
            return
        # Every request gets a thread of its own for the ORM; else all of them would wait for one.
        async with ThreadSensitiveContext():
            task = asyncio.ensure_future(self.application(scope, body.receive, response.send))
            watcher = asyncio.ensure_future(self._watch(body, response, context, task))
            with gateway.requests.running(task, context):
                try:
                    await finished(task, pass_on=True)
                finally:
                    watcher.cancel()
        if (problem := outcome(task, context)) is not None:
            await response.fail(problem)
        elif not response.complete and context.abandoned is None and not body.disconnected:
            logger.error("%s: the application ended without an answer", context.request_id)
            await response.fail(errors.internal(context.request_id))

    async def _watch(
        self, body: "Body", response: "Response", context: RequestContext, task: asyncio.Future[None]
    ) -> None:
        """Cancel the application when the client goes away. (After a whole answer, Daphne reports that too.)"""
        await body.wait_for_disconnect()
        if not response.complete and context.abandoned is None:
            context.abandoned = "disconnected"
            task.cancel()


class Body:
    """The request's side: counts what arrives, and hears the disconnect after it."""

    def __init__(self, receive: Receive, path: str) -> None:
        self._receive = receive
        self._path = path
        self._received = 0
        self._read = asyncio.Event()
        self._gone = asyncio.Event()

    @property
    def disconnected(self) -> bool:
        return self._gone.is_set()

    async def receive(self) -> Message:
        """What the application gets: the body's pieces, then a disconnect if one comes. Raises 413."""
        if self._read.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._read.set()
            self._gone.set()
            return message
        self._received += len(message.get("body", b""))
        if too_large := oversized(self._path, self._received):
            raise too_large
        if not message.get("more_body", False):
            self._read.set()
        return message

    async def wait_for_disconnect(self) -> None:
        await self._read.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()


class Response:
    """The response's side: adds the headers, and turns a failure into the JSON or the event that is still possible."""

    def __init__(self, send: Send, context: RequestContext, *, without_body: bool) -> None:
        self._send = send
        self._context = context
        self._without_body = without_body
        self._started = False
        self._streaming = False
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            self._started = True
            self._streaming = (b"content-type", sse.CONTENT_TYPE) in headers
            message = {**message, "headers": [*headers, *self._context.headers()]}
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
            if self._without_body:
                message = {**message, "body": b""}
        await self._send(message)

    async def fail(self, error: ApiError) -> None:
        """Tell the client, as well as what was sent already allows."""
        if self.complete:
            return
        if not self._started:
            body = self._context.error_body(error)
            headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        else:
            body = self._last_event(error) if self._streaming else b""
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _last_event(self, error: ApiError) -> bytes:
        """What a broken stream ends with: without it, an end without [DONE] looks like success to the SDKs."""
        if self._context.error_event is not None:
            return self._context.error_event(error)
        return sse.event(self._context.error_body(error))


def refusal(scope: Scope, gateway: "runtime.Runtime") -> ApiError | None:
    """Why a request is not even looked at."""
    host = unknown_host(scope)
    if host is not None:
        return errors.host_not_allowed(host)
    if gateway.requests.draining and not scope["path"].startswith("/health"):
        return errors.draining()
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return oversized(scope["path"], int(length[:LONGEST_NUMBER])) if length.isdigit() else None


def oversized(path: str, size: int) -> ApiError | None:
    """What to say of a body of so many bytes, if it is too large for that path."""
    limit = settings.MAX_BODY_BYTES
    if path not in UPLOADS:
        return errors.request_too_large(limit) if size > limit else None
    name, variable = UPLOADS[path]
    of_file = getattr(settings, name)
    # A file that is too large, in a body that is not, is for the endpoint to refuse, by its field's name.
    return errors.request_too_large(of_file, variable) if size > max(of_file + FORM_BYTES, limit) else None


def unknown_host(scope: Scope) -> str | None:
    """The Host that ALLOWED_HOSTS doesn't have, if any; a request without one is judged by the address it reached."""
    hosts: list[str] = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        address = str((scope.get("server") or ["localhost"])[0])
        hosts = [f"[{address}]" if ":" in address else address]
    for host in hosts:
        domain, _ = split_domain_port(host)
        if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
            return host
    return None


def outcome(task: asyncio.Future[None], context: RequestContext) -> ApiError | None:
    """What to tell the client about how the application ended, if anything."""
    if task.cancelled():
        if context.withdrawn:
            return errors.cancelled(by=context.withdrawn)
        return errors.draining() if context.abandoned == "cancelled" else None
    match task.exception():
        case None:
            return None
        case ApiError() as error:
            return error
        case error:
            log_crash(context, error)
            return errors.internal(context.request_id)


def log_crash(context: RequestContext, error: BaseException) -> None:
    """Types and places only: an exception's message may quote the prompt."""
    chain: list[str] = []
    link: BaseException | None = error
    while link is not None and len(chain) < 5:
        chain.append(
            f"{type(link).__module__}.{type(link).__qualname__}\n{''.join(traceback.format_tb(link.__traceback__))}"
        )
        link = link.__cause__ or link.__context__
    logger.error("%s crashed: %s", context.request_id, "caused by ".join(chain))
