"""How many wrong passwords are let in, and that nobody gets around it."""

from ipaddress import ip_network
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.test import Client

from accounts.models import AuditEvent, User
from tests.accounts.sign_in_pages import later, sign_in, signed_in_as

PER_NAME, PER_ADDRESS = 5, 10


def test_a_name_is_closed_after_five_failures_from_wherever(client: Client, owner: User, stranger: User):
    for number in range(PER_NAME):
        assert sign_in(client, "olga", "wrong", REMOTE_ADDR=f"10.0.{number}.1").status_code == 200
    answer = sign_in(client, "Olga ", "battery staple", REMOTE_ADDR="10.0.9.1")
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 300
    assert "Try again in 5 minutes" in answer.content.decode()
    assert signed_in_as(client) is None
    sign_in(client, "sten", "paper clip", REMOTE_ADDR="10.0.9.1")
    assert signed_in_as(client) == stranger, "other names are open"


def test_another_host_name_or_port_is_no_other_name(client: Client, owner: User):
    for number in range(PER_NAME):
        sign_in(client, "olga", "wrong", HTTP_HOST=f"localhost:{number + 1}", REMOTE_ADDR=f"10.0.{number}.1")
    assert sign_in(client, "olga", "battery staple", HTTP_HOST="127.0.0.1").status_code == 429


def test_an_address_is_closed_after_ten_failures_whatever_it_invents(client: Client, owner: User):
    for number in range(PER_ADDRESS):
        answer = sign_in(client, f"name{number}", "wrong", headers={"x-forwarded-for": f"6.6.6.{number}"})
        assert answer.status_code == 200
    answer = sign_in(client, "olga", "battery staple", headers={"x-forwarded-for": "9.9.9.9"})
    assert (answer.status_code, 1 <= int(answer["Retry-After"]) <= 60) == (429, True)
    assert "Try again in 1 minute." in answer.content.decode()
    sign_in(client, "olga", "battery staple", REMOTE_ADDR="10.0.0.2")
    assert signed_in_as(client) == owner, "other addresses are open"


def test_behind_a_trusted_proxy_each_client_is_counted(client: Client, owner: User, settings: Any):
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    for number in range(PER_ADDRESS):
        # The client's own invention stands before what the proxy adds.
        sign_in(client, f"name{number}", "wrong", headers={"x-forwarded-for": f"6.6.6.{number}, 10.0.0.1"})
    spoofed = {"x-forwarded-for": "9.9.9.9, 10.0.0.1"}
    assert sign_in(client, "olga", "battery staple", headers=spoofed).status_code == 429
    sign_in(client, "olga", "battery staple", headers={"x-forwarded-for": "10.0.0.2"})
    assert signed_in_as(client) == owner
    assert AuditEvent.objects.get(action="user.signed_in").after == {"methods": ["password"], "address": "10.0.0.2"}


def test_addresses_of_one_network_s_ipv6_are_one(client: Client, owner: User):
    for number in range(PER_ADDRESS):
        sign_in(client, f"name{number}", "wrong", REMOTE_ADDR=f"2001:db8::{number}")
    assert sign_in(client, "olga", "battery staple", REMOTE_ADDR="2001:db8::ffff").status_code == 429


def test_who_knows_the_password_is_not_counted(client: Client, owner: User):
    for _ in range(PER_ADDRESS + 2):
        assert sign_in(client, "olga", "battery staple").status_code == 302
        client.logout()


def test_it_opens_again(client: Client, owner: User):
    for _ in range(PER_NAME + 1):
        sign_in(client, "olga", "wrong")
    later()
    sign_in(client, "olga", "battery staple")
    assert signed_in_as(client) == owner


def test_every_sign_in_page_counts(client: Client, owner: User):
    """The one that asks a signed-in user for the password again, too."""
    sign_in(client, "olga", "battery staple")
    for _ in range(PER_NAME):
        assert client.post("/account/confirm/", {"password": "wrong"}).status_code == 200
    assert client.post("/account/confirm/", {"password": "battery staple"}).status_code == 429


def test_attempts_of_any_kind_are_limited(client: Client, owner: User):
    answers = [client.post("/account/login/", {}).status_code for _ in range(31)]
    assert answers == [200] * 30 + [429]
    answer = client.post("/account/login/", {})
    assert answer["Retry-After"] == "60" and "Try again in 1 minute." in answer.content.decode()


def test_gateways_count_together_where_they_share_redis(client: Client, owner: User, settings: Any, redis_url: str):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_url,
            "KEY_PREFIX": "atelier",
        }
    }
    caches["default"].clear()
    for _ in range(PER_NAME):
        sign_in(client, "olga", "wrong")
    with redis.Redis.from_url(redis_url) as server:
        kept = list(server.scan_iter("atelier:*login_failed*"))
        assert len(kept) == 2, "by name and by address"
        assert all(0 < server.ttl(name) <= 300 for name in kept)
        assert not any(b"olga" in name for name in kept)
    assert sign_in(client, "olga", "battery staple").status_code == 429


@pytest.mark.parametrize("peer", ["", "somewhere"])
def test_who_can_t_be_told_apart_is_counted_together(client: Client, owner: User, peer: str):
    for number in range(PER_ADDRESS):
        sign_in(client, f"name{number}", "wrong", REMOTE_ADDR=peer)
    assert sign_in(client, "olga", "battery staple", REMOTE_ADDR=peer).status_code == 429
