"""One request and the limits that it runs under: reserved before, grown meanwhile, settled after."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

from redis import RedisError

from accounts.authentication import Principal
from accounts.models import Quota
from accounts.quotas.counters import LEASE_SECONDS
from accounts.quotas.limiter import STEP, Limiter, LimitReached, Reservation, Standing
from accounts.quotas.rules import Scope, Used
from gateway import errors
from gateway.context import RateLimit, RequestContext

logger = logging.getLogger(__name__)

AHEAD = 64
"""Tokens before the end of what is reserved at which more is asked for, so that nobody waits for the answer."""


UNREACHABLE = (RedisError, TimeoutError)
"""Redis does not answer; or something was settled of a counter each time that it was looked up in the ledger."""


class Meter:
    def __init__(self, limiter: Limiter, reservation: Reservation, most: int) -> None:
        self._limiter = limiter
        self._reservation = reservation
        self._most = most
        self._renewing = asyncio.ensure_future(self._renew())

    @classmethod
    async def open(
        cls, limiter: Limiter, context: RequestContext, principal: Principal, model: str, *, prompt: int, most: int
    ) -> "Meter":
        """prompt, most: tokens of the prompt, by estimate, and of all that may be answered to it. Raises ApiError where
        there is not enough left to begin with."""
        scope = scope_of(principal, model)
        try:
            reservation = await limiter.reserve(context.record_id, scope, prompt_tokens=prompt, most=most)
        except LimitReached as reached:
            show(context, await limiter.standings(scope))
            raise errors.limit_reached(reached) from None
        except UNREACHABLE as error:
            logger.error("%s: limits can't be checked: %s", context.request_id, type(error).__name__)
            raise errors.limits_unknown() from None
        show(context, reservation.standings())
        return cls(limiter, reservation, most)

    @property
    def started(self) -> datetime:
        """The moment whose windows it counts for."""
        return self._reservation.started

    @property
    def cap(self) -> int | None:
        """Tokens after which the engine itself should end the answer, for there are no more; None: there may be."""
        granted = self._reservation.tokens
        return granted if granted < min(STEP, self._most) else None

    async def count_prompt(self, tokens: int) -> None:
        """It is so long in truth. Raises ApiError where there is not enough left for that."""
        try:
            await self._limiter.correct(self._reservation, tokens)
        except LimitReached as reached:
            raise errors.limit_reached(reached) from None
        except UNREACHABLE as error:
            self._log(error)

    async def allows(self, tokens: int) -> bool:
        """Whether the answer, which has so many tokens, may go on."""
        reservation = self._reservation
        if tokens + AHEAD < reservation.tokens or reservation.tokens >= self._most:
            return True
        try:
            await self._limiter.grow(reservation, self._most - reservation.tokens)
        except UNREACHABLE as error:
            # What has begun goes on: its true figures are settled in any case.
            self._log(error)
            return True
        return tokens < reservation.tokens

    def leave(self) -> None:
        """Its row in the ledger could not be closed: whoever closes it settles."""
        self._renewing.cancel()

    async def settle(self, used: Used) -> None:
        """To be called once, when its row in the ledger is closed. Never raises."""
        self._renewing.cancel()
        reservation = self._reservation
        try:
            await self._limiter.settle(reservation.request_id, reservation.scope, reservation.started, used)
        except Exception as error:
            self._log(error)

    async def release(self) -> None:
        """It never ran."""
        self._renewing.cancel()
        await self._limiter.release(self._reservation)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._limiter.renew(self._reservation)
            except UNREACHABLE as error:
                self._log(error)

    def _log(self, error: Exception) -> None:
        logger.error("%s: its counters can't be reached: %s", self._reservation.request_id, type(error).__name__)


def scope_of(principal: Principal, model: str) -> Scope:
    return Scope(principal.key_id, principal.user_id, principal.team_id, model)


async def show_standings(limiter: Limiter, context: RequestContext, principal: Principal) -> None:
    """For an answer that has nothing to do with a model. Says nothing where the counters can't be reached."""
    try:
        show(context, await limiter.standings(scope_of(principal, "")))
    except UNREACHABLE as error:
        logger.error("%s: limits can't be read: %s", context.request_id, type(error).__name__)


def show(context: RequestContext, standings: Iterable[Standing]) -> None:
    """The headers that say so: of all limits of a minute the tightest, and a warning for what is nearly used up."""
    standings = list(standings)
    for metric, name in ((Quota.Metric.REQUESTS, "requests"), (Quota.Metric.TOKENS, "tokens")):
        hard = [each for each in standings if each.rule.metric == metric and not each.rule.is_soft]
        rates = [each for each in hard if each.rule.window == Quota.Window.MINUTE]
        if rates:
            tightest = min(rates, key=lambda each: each.left)
            end = tightest.period.end
            context.rate_limits[name] = RateLimit(tightest.limit, int(tightest.left), end)
    context.warnings = [
        f"{each.rule.metric}{'/' + each.rule.window if each.rule.window else ''} {each.used * 100 / each.limit:.0f}%"
        for each in standings
        if each.limit and each.warns
    ]
