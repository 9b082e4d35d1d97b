"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import asyncio

from django.conf import settings
from msgspec import Struct

from accounts.authentication import Principal
from accounts.models import Scope
from gateway import errors, runtime
from gateway.access import model_for
from gateway.answers import encode
from gateway.anthropic.events import MessageAnswers
from gateway.anthropic.request import (
    KNOWN,
    KNOWN_OF_COUNT,
    UNSUPPORTED,
    ask_of,
    ask_to_count,
    ignored,
    read_count,
    read_request,
)
from gateway.ask import Ask
from gateway.body import decode, refuse_unsupported
from gateway.context import RequestContext, of
from gateway.endpoint import GenerationEndpoint, KeyedEndpoint, Parsed, refuse_ignored
from gateway.generation import check_takes, time_limit
from inference.client import EngineDied, EngineUnavailable
from inference.engine.protocol import Failed


class Messages(GenerationEndpoint):
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        ask = ask_of(request)
        context.ignored = ignored(fields, KNOWN)
        shown = request.thinking is None or request.thinking.display != "omitted"
        return ask, lambda stamp: MessageAnswers(stamp, context, shows_thinking=shown)


class TokensCount(Struct):
    input_tokens: int


class CountTokens(KeyedEndpoint):
    methods = ("POST",)
    needs = Scope.GENERATE

    async def handle(self, body: bytes) -> None:
        context = of(self.scope)
        request, fields = decode(body, read_count)
        refuse_unsupported(fields, UNSUPPORTED)
        ask = ask_to_count(request)
        context.ignored = ignored(fields, KNOWN_OF_COUNT)
        refuse_ignored(context)
        await self.answer(encode(TokensCount(await count(context, self.principal, ask))))


async def count(context: RequestContext, principal: Principal, ask: Ask) -> int:
    """The tokens of the prompt, as the engine would read it. Nothing is computed, and nothing charged. Raises
    ApiError."""
    gateway = runtime.current()
    model = await model_for(gateway, principal, ask.model)
    check_takes(model, ask)
    limit, named = time_limit(model)
    try:
        async with asyncio.timeout(limit):
            if ask.sources:
                ask = ask.with_media(await gateway.media.read(ask.sources))
            request = ask.of(record_id=context.record_id, principal=principal)
            await gateway.engines.wait_ready(model.endpoint, settings.ENGINE_WAIT_SECONDS)
            answer = await gateway.engines.count(model.endpoint, request)
    except EngineUnavailable:
        seconds = gateway.engines.expected_in(model.endpoint)
        raise errors.model_loading(model.name, seconds, failed=model.failed) from None
    except EngineDied:
        raise errors.engine_error() from None
    except TimeoutError:
        raise errors.timeout(f"The request was not finished within {limit:g} seconds ({named}).") from None
    if isinstance(answer, Failed):
        raise errors.from_engine(answer, prompt_param=ask.prompt_param)
    return answer.prompt_tokens
