"""The life of a request, from a model's name to a settled ledger row. Knows no dialect."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from django.conf import settings
from django.db import IntegrityError
from msgspec import UNSET, UnsetType, structs

from accounts import ledger
from accounts.authentication import Principal
from accounts.quotas.rules import Used
from gateway import errors
from gateway.access import check_open, model_for
from gateway.answers import Stamp
from gateway.ask import Ask, Asked
from gateway.context import RequestContext
from gateway.insist import insist
from gateway.media import refusals
from gateway.metering import Meter
from gateway.request_diagnostics import RequestDiagnostics, diagnose
from gateway.runtime import Runtime
from gateway.tiers import TOLD, class_for
from inference.client import EngineDied, EngineUnavailable, Generation
from inference.engine.protocol import (
    Accepted,
    AudioDelta,
    Begun,
    Delta,
    Embedded,
    Ended,
    Failed,
    Finished,
    FirstToken,
    Generate,
    Ranked,
    Ready,
    Tally,
    Transcribed,
    TranscriptDelta,
)
from inference.registry import ServedModel

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 2.0
"""How long a cancelled request waits for the engine's true tally."""


@dataclass(frozen=True, slots=True)
class Step:
    """What has come from the engine since the last step."""

    events: list[Delta | Ended]
    """In their order, an answer's neighbouring deltas joined."""
    finished: Finished | None
    pieces: list[TranscriptDelta | AudioDelta] = field(default_factory=list)
    """Of a transcript or of a file of sound."""


@asynccontextmanager
async def running(gateway: Runtime, context: RequestContext, principal: Principal, ask: Asked) -> AsyncIterator["Run"]:
    """A request that the engine works on: iterate over it for its steps.

    Raises ApiError for whatever its user has to be told. However it ends, its row in the ledger is settled, once:
    before the last step is handed on, or on leaving.
    """
    await check_open(gateway, principal)
    model = await model_for(gateway, principal, ask.model)
    stats = gateway.engines.stats(model.endpoint)
    with gateway.idle.line(model.endpoint, stats) if principal.is_batch else nullcontext():
        async with _running(gateway, context, principal, ask, model) as run:
            yield run


@asynccontextmanager
async def _running(
    gateway: Runtime, context: RequestContext, principal: Principal, ask: Asked, model: ServedModel
) -> AsyncIterator["Run"]:
    run = Run(gateway, context, principal, ask, model)
    context.owner = principal.user_id
    limit, named = time_limit(model)
    try:
        async with asyncio.timeout(limit - context.elapsed_ms() / 1000) as deadline:
            await run.start()
            yield run
    except asyncio.CancelledError:
        run.outcome = run.outcome or context.abandoned or "cancelled"
        raise
    except TimeoutError:
        if not deadline.expired():
            raise
        run.outcome = run.outcome or "timeout"
        raise errors.timeout(f"The request was not finished within {limit:g} seconds ({named}).") from None
    except EngineUnavailable:
        run.outcome = run.outcome or "refused"
        seconds = gateway.engines.expected_in(model.endpoint)
        raise errors.model_loading(model.name, seconds, failed=model.failed) from None
    except EngineDied:
        run.outcome = run.outcome or "engine_error"
        raise errors.engine_error() from None
    finally:
        await insist(run.settle())


def check_takes(model: ServedModel, ask: Ask) -> None:
    """Raises ApiError for media that the model is known not to take: they need not be fetched."""
    for source in ask.sources:
        if not model.takes(source.kind):
            raise refusals.not_taken(model.name, source.where, source.kind)


def time_limit(model: ServedModel) -> tuple[float, str]:
    """How many seconds we give a request from its arrival on, and the settings that say so.

    A model's own --timeout is counted by its engine, which knows when the request reached it. Ours is for an engine
    that says nothing, and leaves time to wait for one.
    """
    if model.timeout is None:
        return settings.REQUEST_TIMEOUT_SECONDS, "ATELIER_TIMEOUT"
    return model.timeout + settings.ENGINE_WAIT_SECONDS, "the model's --timeout and ATELIER_ENGINE_WAIT"


class Run:
    def __init__(
        self, gateway: Runtime, context: RequestContext, principal: Principal, ask: Asked, model: ServedModel
    ) -> None:
        self._gateway = gateway
        self._context = context
        self._principal = principal
        self._ask = ask
        self._model = model
        self._created = int(time.time())
        self._ready: Ready | None = None
        self._generation: Generation | None = None
        self._meter: Meter | None = None
        self._settled = False
        self._open_answers = set(range(ask.choices))
        self._cut = False
        """A limit ends it before its time."""
        self._received = Tally()
        """What we saw ourselves, for when the engine can't tell any more."""
        self._tally: Tally | None = None
        self._ttft_ms: float | None = None
        self.result: Embedded | Ranked | Transcribed | None = None
        """What a request has asked for, where that is one thing; there before the last step."""
        self.outcome: str | None = None
        """How it ended, in the ledger's words; None while it runs."""

    @property
    def stamp(self) -> Stamp:
        return Stamp(
            key=self._context.record_id.removeprefix("req_"),
            created=self._created,
            model=self._model.name,
            system_fingerprint=f"fp_{self._ready.instance[:12] if self._ready else ''}",
            tier=TOLD[class_for(self._principal, self._ask.tier)],
            diagnose=self._diagnose,
        )

    async def start(self) -> None:
        """Opens the row, waits for the engine and sends it the request. Raises ApiError, EngineUnavailable."""
        if isinstance(self._ask, Ask):
            check_takes(self._model, self._ask)
        await insist(self._open())
        if isinstance(self._ask, Ask) and self._ask.sources:
            # Who is over a limit has nothing fetched; who fetches is within those of requests at once.
            self._ask = await self._with_media(self._ask)
        self._ready = await self._gateway.engines.wait_ready(self._model.endpoint, settings.ENGINE_WAIT_SECONDS)
        request = self._ask.of(record_id=self._context.record_id, principal=self._principal)
        assert self._meter is not None
        if isinstance(request, Generate) and self._ask.choices == 1 and (cap := self._meter.cap) is not None:
            request = capped(request, cap)
        self._context.sent = time.perf_counter()
        self._context.priority = request.priority if isinstance(request, Generate) else ""
        self._generation = self._gateway.engines.generate(self._model.endpoint, request, shared=self._model.shared)

    async def _with_media(self, ask: Ask) -> Ask:
        """Raises ApiError; what can't be had costs nothing."""
        try:
            return ask.with_media(await self._gateway.media.read(ask.sources))
        except errors.ApiError:
            self.outcome = "refused"
            raise

    def __aiter__(self) -> "Run":
        return self

    async def __anext__(self) -> Step:
        """Raises ApiError for a request that the engine failed, EngineDied, and StopAsyncIteration after the end."""
        assert self._generation is not None and self._meter is not None
        events: list[Delta | Ended] = []
        pieces: list[TranscriptDelta | AudioDelta] = []
        for event in await anext(self._generation):
            match event:
                case Delta():
                    append(events, event)
                    self._received.completion_tokens += event.tokens
                    self._context.completion_tokens = self._received.completion_tokens
                case Ended():
                    self._open_answers.discard(event.choice)
                    events.append(event)
                case TranscriptDelta() | AudioDelta():
                    pieces.append(event)
                case Embedded() | Ranked() | Transcribed():
                    self.result = event
                case Accepted():
                    self._context.prompt_tokens = self._received.prompt_tokens = event.prompt_tokens
                    await self._count_prompt(event.prompt_tokens)
                case Begun():
                    self._context.begun = True
                case FirstToken():
                    self._ttft_ms = self._context.elapsed_ms()
                    self._context.queue_ms = self._received.queue_ms = event.queue_ms
                    self._context.engine_ms = event.engine_ms
                    self._context.cached_tokens = event.cached_tokens
                case Failed():
                    await self._failed(event)
                case Finished():
                    if self._cut and event.reason == "cancelled":
                        event.reason = "length"
                        events += [Ended(event.id, choice, "length") for choice in sorted(self._open_answers)]
                    await self._finished(event)
                    return Step(events, event, pieces)
        if not self._cut and not await self._meter.allows(self._received.completion_tokens):
            self._cut = True
            self._generation.cancel()
        return Step(events, None, pieces)

    @property
    def has_first_token(self) -> bool:
        return self._ttft_ms is not None

    async def settle(self) -> None:
        """Closes the row with what the request used; the engine stops working on it. Never raises, works once."""
        if self._settled or self._meter is None:
            return
        self._settled = True
        tally = self._tally or await self._stop() or self._received
        # Nothing said how it ended: the gateway itself broke.
        outcome = self.outcome or "cancelled"
        used = Used(
            prompt_tokens=tally.prompt_tokens,
            cached_tokens=min(tally.cached_tokens, tally.prompt_tokens),
            completion_tokens=tally.completion_tokens,
            engine_seconds=tally.engine_seconds,
            counts=outcome != "refused",
        )
        try:
            closed = await self._gateway.database.run(
                ledger.settle,
                self._context.record_id,
                outcome=outcome,
                prompt_tokens=used.prompt_tokens,
                cached_tokens=used.cached_tokens,
                completion_tokens=used.completion_tokens,
                queue_ms=tally.queue_ms,
                ttft_ms=self._ttft_ms,
                duration_ms=self._context.elapsed_ms(),
                engine_seconds=used.engine_seconds,
            )
        except Exception as error:
            # The row stays `running`, with what it holds of limits, and the gateway's next life finds it.
            logger.error("%s could not be settled: %s", self._context.record_id, type(error).__name__)
            self._meter.leave()
            return
        # Somebody else may have closed the row, taking it for abandoned: the ledger has nothing used then.
        await self._meter.settle(used if closed else Used(counts=False))

    def _diagnose(self, end: Finished) -> RequestDiagnostics | UnsetType:
        if not isinstance(self._ask, Ask) or self._ask.diagnostics is None or self._ready is None:
            return UNSET
        stats = self._gateway.engines.stats(self._model.endpoint)
        shown = len(self._ask.prompt.media)
        return diagnose(self._ask.diagnostics, end, self._ready, stats, visual_inputs=shown)

    async def _open(self) -> None:
        """Raises ApiError where a limit leaves too little to begin with."""
        await self._gateway.recovered.wait()
        estimate = self._ask.estimated_prompt_tokens()
        meter = await Meter.open(
            self._gateway.limiter,
            self._context,
            self._principal,
            self._model.name,
            prompt=estimate,
            most=self._ask.most_tokens(),
        )
        try:
            await self._gateway.database.run(
                ledger.open_record,
                request_id=self._context.record_id,
                principal=self._principal,
                model=self._model.name,
                endpoint=self._ask.endpoint,
                stream=self._ask.stream,
                gateway=self._gateway.name,
                estimated_prompt_tokens=estimate,
                started_at=meter.started,
            )
        except IntegrityError:
            await meter.release()
            # The key was deleted while we still remembered it.
            raise errors.invalid_api_key() from None
        except Exception:
            await meter.release()
            raise
        self._meter = meter

    async def _count_prompt(self, tokens: int) -> None:
        """Before much of it is computed, and before anything is where it has media. Raises ApiError."""
        assert self._meter is not None
        try:
            await self._meter.count_prompt(tokens)
        except errors.ApiError:
            self.outcome = "refused"
            # Nothing of it is charged, as of all that is refused.
            self._tally = Tally()
            if self._generation is not None:
                self._generation.cancel()
            raise
        if self._generation is not None and isinstance(self._ask, Ask) and self._ask.prompt.held:
            self._generation.proceed()

    async def _finished(self, event: Finished) -> None:
        self._tally = tally = event.tally
        self._context.engine_ms = tally.queue_ms + tally.prefill_ms + tally.decode_ms
        self._context.queue_ms = tally.queue_ms
        self._context.owner = None  # what has ended can't be cancelled any more
        # To the ledger, a model that stops to have a tool called has stopped.
        self.outcome = "stop" if event.reason == "tool_calls" else event.reason
        await insist(self.settle())
        if event.reason == "cancelled":
            # Not by us: whoever cancels here stops listening.
            raise errors.engine_error("The request was cancelled before it was finished.")

    async def _failed(self, event: Failed) -> None:
        self._context.owner = None
        # A failure's tally may be empty; what was received was produced.
        self._tally = event.tally if event.tally.completion_tokens >= self._received.completion_tokens else None
        if event.code == "timeout":
            self.outcome = "timeout"
        else:
            refused = event.code != "engine_error" and not self.has_first_token
            self.outcome = "refused" if refused else "engine_error"
        await insist(self.settle())
        raise errors.from_engine(event, prompt_param=self._ask.prompt_param)

    async def _stop(self) -> Tally | None:
        """Cancels what still runs in the engine. Its tally, if the engine can tell."""
        if self._generation is None:
            return None
        self._generation.cancel()
        end = await self._generation.drain(DRAIN_SECONDS)
        return None if end is None else end.tally


def capped(request: Generate, cap: int) -> Generate:
    """One that ends by itself after so many tokens."""
    if request.max_tokens is None:
        return structs.replace(request, default_max_tokens=min(cap, request.default_max_tokens))
    return structs.replace(request, max_tokens=min(cap, request.max_tokens))


def append(events: list[Delta | Ended], delta: Delta) -> None:
    """One event for all that a step's deltas of an answer say, as long as that keeps their order: thoughts come before
    text in an event, and text before calls."""
    for known in reversed(events):
        if known.choice != delta.choice:
            continue
        if isinstance(known, Ended) or (delta.text and known.calls):
            break
        if delta.reasoning and (known.text or known.calls):
            break
        known.text += delta.text
        known.reasoning += delta.reasoning
        known.tokens += delta.tokens
        known.calls = [*known.calls, *delta.calls]
        known.logprobs = [*known.logprobs, *delta.logprobs]
        return
    events.append(delta)
