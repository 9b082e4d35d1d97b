"""Second factors: codes of an app, and recovery codes."""

import json
import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client

from accounts.models import AuditEvent, User
from tests.accounts.admin_pages import database_dump
from tests.accounts.sign_in_pages import acts, later, sign_in, signed_in_as

# allauth says what it did when its transaction has been committed.
pytestmark = pytest.mark.django_db(transaction=True)

ACTIVATE = "/account/2fa/totp/activate/"
AUTHENTICATE = "/account/2fa/authenticate/"


def code(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def wrong(secret: str) -> str:
    """No code of now, nor of the windows around it."""
    near = {format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step)) for step in range(-2, 3)}
    return next(text for text in (f"{number:06}" for number in range(10)) if text not in near)


@pytest.fixture
def secret(client: Client, owner: User) -> str:
    """What olga's app has; she is signed in."""
    sign_in(client, "olga", "battery staple")
    asked = client.get(ACTIVATE)
    assert asked["Location"].startswith("/account/confirm/"), "the password is asked for again"
    client.post("/account/confirm/", {"password": "battery staple"})
    shown = client.get(ACTIVATE).content.decode()
    found = re.search(r"\b[A-Z2-7]{32}\b", shown)
    assert found is not None
    assert client.post(ACTIVATE, {"code": wrong(found[0])}).status_code == 200
    assert client.post(ACTIVATE, {"code": code(found[0])})["Location"] == "/account/2fa/recovery-codes/"
    later()
    return found[0]


def test_setting_it_up_is_recorded_and_the_secret_is_not(client: Client, owner: User, secret: str):
    events = AuditEvent.objects.filter(action="user.second_factor_added").order_by("pk")
    assert [(event.actor, event.after) for event in events] == [
        (owner, {"factors": ["totp"]}), (owner, {"factors": ["recovery_codes"]})
    ]  # fmt: skip
    codes = re.findall(r"\b\d{8}\b", client.get("/account/2fa/recovery-codes/").content.decode())
    assert len(codes) == 10
    assert secret not in database_dump(), "what is stored is encrypted"
    log = json.dumps(list(AuditEvent.objects.values()), cls=DjangoJSONEncoder)
    assert not any(each in log for each in (secret, *codes))


def test_signing_in_asks_for_the_code(client: Client, owner: User, secret: str):
    client.logout()
    assert sign_in(client, "olga", "battery staple")["Location"] == AUTHENTICATE
    assert signed_in_as(client) is None
    assert client.get("/admin/", follow=True).status_code == 200 and signed_in_as(client) is None
    refused = client.post(AUTHENTICATE, {"code": wrong(secret)})
    assert "Incorrect code" in refused.content.decode()
    assert AuditEvent.objects.latest("pk").after == {"reason": "wrong code", "address": "127.0.0.1"}
    assert client.post(AUTHENTICATE, {"code": code(secret)})["Location"] == "/account/"
    assert signed_in_as(client) == owner
    assert AuditEvent.objects.latest("pk").after == {"methods": ["password", "mfa"], "address": "127.0.0.1"}


def test_a_code_works_once(client: Client, owner: User, secret: str):
    client.logout()
    sign_in(client, "olga", "battery staple")
    used = code(secret)
    client.post(AUTHENTICATE, {"code": used})
    assert signed_in_as(client) == owner
    other = Client()
    sign_in(other, "olga", "battery staple")
    other.post(AUTHENTICATE, {"code": used})
    assert signed_in_as(other) is None


def test_codes_can_t_be_guessed(client: Client, owner: User, secret: str):
    client.logout()
    sign_in(client, "olga", "battery staple")
    for _ in range(5):
        client.post(AUTHENTICATE, {"code": wrong(secret)})
    answer = client.post(AUTHENTICATE, {"code": code(secret)})
    assert "Too many wrong codes. Try again in five minutes." in answer.content.decode()
    other = Client(REMOTE_ADDR="10.0.0.9")
    sign_in(other, "olga", "battery staple")
    other.post(AUTHENTICATE, {"code": code(secret)})
    assert signed_in_as(other) is None, "nor from elsewhere"


def test_a_recovery_code_works_once(client: Client, owner: User, secret: str):
    codes = re.findall(r"\b\d{8}\b", client.get("/account/2fa/recovery-codes/").content.decode())
    for browser, expected in ((Client(), owner), (Client(), None)):
        sign_in(browser, "olga", "battery staple")
        browser.post(AUTHENTICATE, {"code": codes[0]})
        assert signed_in_as(browser) == expected


@pytest.mark.parametrize("given", ["", "\0", "x" * 10_000, "<b>", "１２３４５６", "-1"])
def test_codes_that_can_t_be(client: Client, owner: User, secret: str, given: str):
    client.logout()
    sign_in(client, "olga", "battery staple")
    assert client.post(AUTHENTICATE, {"code": given}).status_code == 200
    assert signed_in_as(client) is None


def test_new_recovery_codes_and_turning_it_off(client: Client, owner: User, secret: str):
    assert client.post("/account/2fa/recovery-codes/generate/").status_code == 302
    assert client.post("/account/2fa/totp/deactivate/").status_code == 302
    assert not Authenticator.objects.exists()
    assert acts()[-3:] == ["user.recovery_codes_renewed", "user.second_factor_removed", "user.second_factor_removed"]
    client.logout()
    assert sign_in(client, "olga", "battery staple")["Location"] == "/account/"


def test_another_secret_key_says_what_has_happened(client: Client, owner: User, secret: str, settings: Any):
    client.logout()
    settings.SECRET_KEY = "another"
    other = Client()
    sign_in(other, "olga", "battery staple")
    answer = other.post(AUTHENTICATE, {"code": code(secret)})
    assert "ATELIER_SECRET_KEY has changed" in answer.content.decode()
    assert signed_in_as(other) is None
