"""`GET /v1/key`: what the key that asks may do, has used, and has left."""

from datetime import datetime
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from msgspec import Struct

from accounts.models import ApiKey, Scope
from accounts.quotas.limiter import Standing
from gateway import runtime
from gateway.access import model_for, models_of
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint
from gateway.metering import scope_of


class Limit(Struct, kw_only=True):
    """As of now. limit, used, remaining: in the metric's own units."""

    metric: str
    """"requests", "tokens", "gpu_seconds" or "concurrency" (requests at once)."""
    window: str | None
    """"minute" to "month", or "total"; null for requests at once."""
    subject: str
    """Whom it is for: "each key", "user ada", "team research, model qwen" …"""
    limit: int
    used: float
    """What running requests have reserved included."""
    remaining: float
    soft: bool
    """It only warns."""
    resets_at: datetime | None


class KeyObject(Struct, kw_only=True):
    id: str
    """How the key begins."""
    object: str = "key"
    user: str
    team: str | None
    note: str
    created_at: datetime
    expires_at: datetime | None
    scopes: list[str]
    models: list[str]
    """Those that are served and that it may use."""
    networks: list[str]
    """Where it may be used from; empty: anywhere."""
    limits: list[Limit]
    """All that hold for it whatever the model; with `?model=`, those for this model as well."""


class OwnKey(KeyedEndpoint):
    needs = Scope.USAGE

    async def handle(self, body: bytes) -> None:
        gateway = runtime.current()
        name = self.query("model")
        model = (await model_for(gateway, self.principal, name)).name if name else ""
        row = await database_sync_to_async(ApiKey.objects.select_related("user", "team").get)(pk=self.principal.key_id)
        served = await models_of(gateway, self.principal)
        standings = await gateway.limiter.standings(scope_of(self.principal, model))
        await self.answer(
            encode(
                KeyObject(
                    id=row.prefix,
                    user=row.user.username,
                    team=row.team.name if row.team else None,
                    note=row.note,
                    created_at=row.created_at,
                    expires_at=row.expires_at,
                    scopes=row.scopes,
                    models=[each.name for each in served],
                    networks=row.allowed_networks,
                    limits=[limit_of(standing) for standing in standings],
                )
            )
        )

    def query(self, name: str) -> str:
        given: bytes = self.scope["query_string"]
        return parse_qs(given.decode("latin-1")).get(name, [""])[-1]


def limit_of(standing: Standing) -> Limit:
    rule = standing.rule
    return Limit(
        metric=rule.metric,
        window=rule.window or None,
        subject=rule.subject,
        limit=standing.limit,
        used=standing.used,
        remaining=standing.left,
        soft=rule.is_soft,
        resets_at=standing.period.end,
    )
