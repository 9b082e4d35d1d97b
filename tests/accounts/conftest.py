"""The people of these tests: an owner with a team, and a stranger. And the real services that events run over."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.db import connections
from django.test import Client

from accounts.authentication import Principal
from accounts.events import Hub
from accounts.models import AuditEvent, Team, UsageRecord, User
from accounts.quotas.redis_counters import PREFIX
from accounts.services import IssuedKey, do_add_member, do_create_team, do_create_user, do_issue_key
from tests.accounts.admin_pages import open_record, signed_in
from tests.accounts.managing import Ask, by_key, managing_key


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """The real hasher takes half a second by design, for each of a hundred users."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def no_failed_sign_ins() -> None:
    """Of other tests, which came from the same address."""
    cache.clear()


@pytest.fixture
def root(db: None) -> User:
    return do_create_user("root", password="correct horse", is_admin=True, acting_user=None)


@pytest.fixture
def owner(db: None) -> User:
    return do_create_user("olga", password="battery staple", acting_user=None)


@pytest.fixture
def stranger(db: None) -> User:
    return do_create_user("sten", password="paper clip", acting_user=None)


@pytest.fixture
def team(owner: User) -> Team:
    team = do_create_team("Vision", acting_user=None)
    do_add_member(team, owner, role="owner", acting_user=None)
    return team


@pytest.fixture
def issued(owner: User, team: Team) -> IssuedKey:
    return do_issue_key(owner, note="laptop", team=team, acting_user=None)


@pytest.fixture
def principal(issued: IssuedKey, owner: User, team: Team) -> Principal:
    return Principal(
        key_id=issued.row.pk,
        key_prefix=issued.row.prefix,
        user_id=owner.pk,
        username=owner.username,
        team_id=team.pk,
        expires_at=None,
    )


@pytest.fixture
def boss(root: User) -> Client:
    """A superuser's browser."""
    return signed_in(root)


@pytest.fixture
def record(principal: Principal) -> UsageRecord:
    return open_record(principal, "req-1")


@pytest.fixture
def last_audit() -> Callable[[], AuditEvent]:
    def newest() -> AuditEvent:
        return AuditEvent.objects.order_by("-pk")[0]

    return newest


@pytest.fixture
def hub(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The supervisor's hub, at a socket folder of the test's own."""
    settings.REDIS_URL = ""
    settings.SOCKET_DIR = tmp_path_factory.mktemp("run")
    with Hub() as hub:
        yield hub


@pytest.fixture
def redis_events(settings: Any, redis_url: str) -> str:
    """Events over the real Redis that all tests share."""
    settings.REDIS_URL = redis_url
    return redis_url


@pytest.fixture
def redis_counters(redis_url: str) -> str:
    """The Redis that all tests share, without the counters of others, whose quotas may have had the same ids."""
    with redis.Redis.from_url(redis_url) as client:
        if left := list(client.scan_iter(f"{PREFIX}*")):
            client.delete(*left)
    return redis_url


@pytest.fixture(params=["zeromq", "redis"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs over the hub, then over Redis."""
    request.getfixturevalue("hub" if request.param == "zeromq" else "redis_events")
    return str(request.param)


def in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns, on a database connection of this thread's own that does not outlive it."""
    try:
        return work()
    finally:
        connections.close_all()


@pytest.fixture
def beside() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Runs synchronous work in a thread, as another process's doing would look to the event loop."""
    return lambda work: asyncio.to_thread(in_thread, work)


# --- Who asks the management API


@pytest.fixture
def olga(owner: User, team: Team) -> Ask:
    """The owner of Vision."""
    return by_key(managing_key(owner, note="manage"))


@pytest.fixture
def boss_key(root: User) -> Ask:
    return by_key(managing_key(root))


@pytest.fixture
def mia(team: Team) -> User:
    user = do_create_user("mia", password=None, acting_user=None)
    do_add_member(team, user, acting_user=None)
    return user


@pytest.fixture
def adam(team: Team) -> User:
    user = do_create_user("adam", password=None, acting_user=None)
    do_add_member(team, user, role="admin", acting_user=None)
    return user
