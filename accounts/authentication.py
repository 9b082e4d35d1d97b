"""From a raw key to who is asking: one query, then a short memory that forgets at once when told to."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from channels.db import database_sync_to_async
from django.utils import timezone

from accounts import events, keys
from accounts.memory import Memory
from accounts.models import ApiKey
from accounts.models.api_key import default_scopes, parsed_networks
from accounts.models.priority import PriorityClass, lower_of

LIFETIME_SECONDS = 30.0
MAX_PRINCIPALS = 10_000
MAX_MISSES = 1_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from, and what its usage is charged to."""

    key_id: int
    key_prefix: str
    user_id: int
    username: str
    team_id: int | None
    expires_at: datetime | None
    scopes: frozenset[str] = frozenset(default_scopes())
    models: frozenset[str] = frozenset()
    """Names; empty: all."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Empty: anywhere."""
    weight: float = 1.0
    """Its share beside others of its class."""
    priority: str = PriorityClass.API
    """The class of its requests that name none; and the first that it may have:"""
    highest_class: str = PriorityClass.API
    is_batch: bool = False
    """A worker asks, for a batch that was made with the key."""
    is_admin: bool = False
    """Its user runs the platform."""

    def may_use(self, model: str) -> bool:
        return not self.models or model in self.models

    def may_come_from(self, address: IPv4Address | IPv6Address | None) -> bool:
        """None: nobody knows from where."""
        return not self.networks or (address is not None and any(address in network for network in self.networks))

    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def cache_salt(self) -> str:
        """Requests of the same salt may share what is cached of their prompts: those of the key's team, or of its user
        alone. How fast an answer begins tells what is cached, so nobody else may."""
        return f"user:{self.user_id}" if self.team_id is None else f"team:{self.team_id}"


class KeyResolver:
    """Belongs to one event loop. Without `watch()` running, a revoked key opens the door for up to 30 seconds more."""

    def __init__(self, lifetime: float = LIFETIME_SECONDS) -> None:
        self._principals: Memory[Principal] = Memory(MAX_PRINCIPALS, lifetime)
        # A key that is refused costs one query per lifetime, not one per attempt.
        self._misses: Memory[bool] = Memory(MAX_MISSES, lifetime)
        self._forgotten = 0

    async def resolve(self, raw: str) -> Principal | None:
        """None: malformed, unknown, revoked, expired, or of an inactive user; which one is nobody's business.

        No query for a malformed or remembered key; else one, plus once a minute the write of `last_used_at`.
        """
        return await self.resolve_digest(keys.digest(raw)) if keys.is_well_formed(raw) else None

    async def resolve_digest(self, digest: str) -> Principal | None:
        """The same, for who knows the digest of a key only."""
        if self._misses.get(digest):
            return None
        principal = self._principals.get(digest)
        if principal is None:
            principal = await self._look_up(digest)
        return None if principal is None or principal.is_expired() else principal

    async def _look_up(self, digest: str) -> Principal | None:
        forgotten = self._forgotten
        principal: Principal | None = await database_sync_to_async(load_principal)(digest)
        # Whatever was forgotten while we asked may be what we were told: such an answer serves once.
        if forgotten == self._forgotten:
            if principal is None:
                self._misses.put(digest, True)
            else:
                self._principals.put(digest, principal)
        return principal

    def forget(self, digest: str) -> None:
        self._forgotten += 1
        self._principals.drop(digest)

    def forget_user(self, user_id: int) -> None:
        """What is remembered of the user's keys; and all misses, which an activated user's keys may be among."""
        self._forgotten += 1
        self._principals.drop_where(lambda principal: principal.user_id == user_id)
        self._misses.clear()

    def forget_team(self, team_id: int) -> None:
        """What is remembered of the team's keys."""
        self._forgotten += 1
        self._principals.drop_where(lambda principal: principal.team_id == team_id)

    def forget_all(self) -> None:
        self._forgotten += 1
        self._principals.clear()
        self._misses.clear()

    async def watch(self) -> None:
        """Runs until cancelled: forgets what the events of other processes say has changed."""
        async for event in events.subscribe("key.revoked", "user.changed", "team.changed"):
            match event:
                case events.Event("key.revoked", {"digest": str(digest)}):
                    self.forget(digest)
                case events.Event("user.changed", {"user_id": int(user_id)}):
                    self.forget_user(user_id)
                case events.Event("team.changed", {"team_id": int(team_id)}):
                    self.forget_team(team_id)
                case _:  # resumed after a gap, or said by another version of us
                    self.forget_all()


def load_principal(digest: str) -> Principal | None:
    """One query; and one write when the key was last used over a minute ago."""
    key = (
        ApiKey.objects.live()
        .select_related("user", "team")
        .only(
            "prefix",
            "team_id",
            "expires_at",
            "last_used_at",
            "scopes",
            "allowed_models",
            "allowed_networks",
            "priority",
            "user__username",
            "user__weight",
            "team__highest_class",
            "team__weight",
            "user__is_superuser",
        )
        .filter(digest=digest)
        .first()
    )
    if key is None:
        return None
    if key.needs_touch():
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    return Principal(
        key_id=key.pk,
        key_prefix=key.prefix,
        user_id=key.user_id,
        username=key.user.username,
        team_id=key.team_id,
        expires_at=key.expires_at,
        scopes=frozenset(key.scopes),
        models=frozenset(key.allowed_models),
        networks=tuple(parsed_networks(key.allowed_networks)),
        weight=key.user.weight * (key.team.weight if key.team else 1.0),
        # The team's may have been lowered since the key was issued.
        priority=lower_of(key.priority, key.highest_class()),
        highest_class=key.highest_class(),
        is_admin=key.user.is_superuser,
    )
