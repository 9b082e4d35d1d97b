"""Signing in at an OpenID Connect provider: a real one, on this machine."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from oidc_provider_mock import User as Person
from oidc_provider_mock import run_server_in_thread

from accounts.models import AuditEvent, User
from accounts.services import do_change_user, do_create_user
from tests.accounts.sign_in_pages import acts, signed_in_as
from tests.support.server import free_port

START = "/account/oidc/sso/login/"
VERIFIED = {"email_verified": True}
PEOPLE = {
    "olga": {"email": "Olga@Example.org", **VERIFIED, "preferred_username": "olga-at-work"},
    "nina": {"email": "nina@example.org", **VERIFIED, "preferred_username": "nina"},
    "root": {"email": "somebody@example.org", **VERIFIED, "preferred_username": "root"},
    "odd": {"email": "odd@example.org", **VERIFIED, "preferred_username": "<b>\"two words\"</b>"},
    "unverified": {"email": "olga@example.org", "email_verified": False},
    "silent": {"email": "olga@example.org"},
    "false": {"email": "olga@example.org", "email_verified": "false"},
    "word": {"email": "olga@example.org", "email_verified": "true"},
    "nobody": {},
    "dotless": {"email": "olga@examplı.org", **VERIFIED},
    "upper": {"email": "olga@EXAMPLE.ORG", **VERIFIED},
}  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Its issuer."""
    before = os.environ.get("AUTHLIB_INSECURE_TRANSPORT")
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # it is on this machine
    people = [Person(sub=sub, claims=dict(claims)) for sub, claims in PEOPLE.items()]
    with run_server_in_thread(free_port(), user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"
    if before is None:
        del os.environ["AUTHLIB_INSECURE_TRANSPORT"]


def configure(settings: Any, issuer: str) -> None:
    settings.OIDC_ISSUER = issuer
    settings.OIDC_NAME = "Example & Co"
    app = {
        "provider_id": "sso",
        "name": settings.OIDC_NAME,
        "client_id": "atelier",
        "secret": "hush",
        "settings": {"server_url": issuer, "oauth_pkce_enabled": True},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}


@pytest.fixture
def sso(settings: Any, provider: str, owner: User) -> None:
    """Single sign-on is on; olga's address is known."""
    configure(settings, provider)
    User.objects.filter(pk=owner.pk).update(email="olga@example.org")
    owner.refresh_from_db()


def come_back(browser: Client, sub: str, *, path: str = f"{START}?process=login") -> Any:
    """What the browser sees when the person has gone to the provider and returned."""
    away = browser.post(path)
    assert away.status_code == 302, away.content
    consent = httpx.post(away["Location"], data={"sub": sub})
    assert consent.status_code == 302, consent.text
    back = httpx.URL(consent.headers["location"])
    assert back.host == "testserver"
    return browser.get(back.raw_path.decode())


def why_not(answer: Any) -> str:
    assert answer.status_code == 403
    return answer.content.decode()


def last_failure() -> tuple[str, str]:
    event = AuditEvent.objects.filter(action="user.sign_in_failed").latest("pk")
    assert event.actor is None and event.actor_name == "" and event.after is not None
    return event.target_label, event.after["reason"]


def test_who_is_known_by_a_verified_address_is_let_in(client: Client, sso: None, owner: User):
    assert "Sign in with Example &amp; Co" in client.get("/account/login/").content.decode()
    assert come_back(client, "olga")["Location"] == "/account/"
    assert signed_in_as(client) == owner
    owner.refresh_from_db()
    assert owner.username == "olga" and owner.check_password("battery staple"), "the password stays"
    assert acts()[-2:] == ["user.connected", "user.signed_in"]
    assert AuditEvent.objects.latest("pk").after == {"methods": ["socialaccount"], "address": "127.0.0.1"}


def test_from_then_on_the_provider_s_id_counts(sso: None, owner: User):
    come_back(Client(), "olga")
    do_change_user(owner, email="elsewhere@example.org", acting_user=None)
    browser = Client()
    come_back(browser, "olga")
    assert signed_in_as(browser) == owner
    assert SocialAccount.objects.get().uid == "olga"
    assert acts().count("user.connected") == 1


@pytest.mark.parametrize("sub", ["unverified", "silent", "false", "nobody"])
def test_an_address_that_nobody_vouches_for_is_refused(client: Client, sso: None, settings: Any, sub: str):
    settings.OIDC_SIGNUP = True
    assert "Example &amp; Co does not vouch" in why_not(come_back(client, sub))
    assert signed_in_as(client) is None
    assert last_failure() == ("", "unverified e-mail")
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("sub", ["word", "upper"])
def test_other_ways_to_say_the_same(client: Client, sso: None, owner: User, sub: str):
    come_back(client, sub)
    assert signed_in_as(client) == owner


def test_who_is_unknown_is_refused(client: Client, sso: None):
    assert "Nobody here has your e-mail address" in why_not(come_back(client, "nina"))
    assert signed_in_as(client) is None
    assert last_failure() == ("", "unknown e-mail")
    assert User.objects.count() == 1 and not SocialAccount.objects.exists()


def test_letters_that_databases_find_alike_are_not(client: Client, sso: None, owner: User):
    do_change_user(owner, email="olga@exampli.org", acting_user=None)
    assert come_back(client, "dotless").status_code == 403
    assert signed_in_as(client) is None


def test_an_address_of_several_users_is_refused(client: Client, sso: None, stranger: User):
    User.objects.filter(pk=stranger.pk).update(email="OLGA@example.org")
    assert "Several users" in why_not(come_back(client, "olga"))
    assert last_failure() == ("", "ambiguous e-mail")


def test_an_inactive_user_is_refused_first_and_later(sso: None, owner: User):
    do_change_user(owner, is_active=False, acting_user=None)
    browser = Client()
    assert "inactive" in why_not(come_back(browser, "olga"))
    assert not SocialAccount.objects.exists()
    do_change_user(owner, is_active=True, acting_user=None)
    come_back(Client(), "olga")
    do_change_user(owner, is_active=False, acting_user=None)
    assert come_back(browser, "olga")["Location"] == "/account/inactive/"
    assert signed_in_as(browser) is None
    assert last_failure() == ("olga", "inactive user")


def test_with_the_setting_whoever_comes_becomes_a_plain_user(client: Client, sso: None, settings: Any):
    settings.OIDC_SIGNUP = True
    assert come_back(client, "nina")["Location"] == "/account/"
    nina = User.objects.get(username="nina")
    assert signed_in_as(client) == nina
    assert (nina.email, nina.is_staff, nina.has_usable_password()) == ("nina@example.org", False, False)
    assert not nina.teams.exists()
    assert "none yet" in client.get("/account/").content.decode()
    assert client.get("/admin/", follow=True).request["PATH_INFO"] == "/account/"


def test_a_name_that_is_taken_or_can_t_be_becomes_the_address(sso: None, settings: Any, root: User):
    settings.OIDC_SIGNUP = True
    for sub, address in (("root", "somebody@example.org"), ("odd", "odd@example.org")):
        browser = Client()
        come_back(browser, sub)
        user = signed_in_as(browser)
        assert user is not None and user.username == address and not user.is_superuser
    do_create_user("nina", password=None, acting_user=None)
    do_create_user("nina@example.org", password=None, acting_user=None)
    assert "a user of your name already" in why_not(come_back(Client(), "nina"))
    assert last_failure() == ("", "name is taken")


def test_a_second_factor_is_asked_for_here_too(client: Client, sso: None, owner: User):
    TOTP.activate(owner, generate_totp_secret())
    assert come_back(client, "olga")["Location"] == "/account/2fa/authenticate/"
    assert signed_in_as(client) is None


def test_next_leads_to_our_own_pages_alone(sso: None):
    for given, expected in (("/docs/api/", "/docs/api/"), ("https://evil.example/", "/account/")):
        path = f"{START}?process=login&next={given}"
        assert come_back(Client(), "olga", path=path)["Location"] == expected


@pytest.mark.parametrize("process", ["connect", "redirect", "x"])
def test_nothing_but_signing_in(client: Client, sso: None, stranger: User, process: str):
    client.force_login(stranger)
    answer = come_back(client, "olga", path=f"{START}?process={process}")
    assert answer.status_code == 403
    assert not SocialAccount.objects.exists()


def test_who_says_no_over_there_is_not_signed_in(client: Client, sso: None):
    away = httpx.URL(client.post(f"{START}?process=login")["Location"])
    answer = client.get(f"{START}callback/", {"error": "access_denied", "state": away.params["state"]})
    assert answer["Location"] == "/account/sso/cancelled/"
    assert "You said no" in client.get(answer["Location"]).content.decode()
    assert last_failure() == ("", "Example & Co failed")
    assert signed_in_as(client) is None


def test_an_answer_that_nobody_asked_for(client: Client, sso: None):
    other = Client()
    away = other.post(f"{START}?process=login")
    consent = httpx.post(away["Location"], data={"sub": "olga"})
    stolen = httpx.URL(consent.headers["location"]).raw_path.decode()
    for path in (
        stolen,
        f"{START}callback/",
        f"{START}callback/?code=x&state=y",
        f"{START}callback/?code=%00&state=%00",
    ):
        assert client.get(path).status_code == 401, path
    assert signed_in_as(client) is None
    other.get(stolen)
    assert signed_in_as(other) is not None
    other.logout()
    assert other.get(stolen).status_code == 401, "an answer is good once"


def test_a_link_alone_sends_nobody_away(client: Client, sso: None):
    assert client.get(START).status_code == 200
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(START).status_code == 403


@pytest.mark.parametrize("issuer", ["http://localhost:{port}", "{provider}/nowhere", "{provider}/.well-known/../jwks?"])
def test_a_provider_that_is_away_or_talks_nonsense(sso: None, settings: Any, provider: str, issuer: str):
    browser = Client()
    away = browser.post(f"{START}?process=login")
    configure(settings, issuer.format(port=free_port(), provider=provider))
    state = httpx.URL(away["Location"]).params["state"]
    for answer in (browser.post(f"{START}?process=login"), browser.get(f"{START}callback/?code=x&state={state}")):
        assert answer.status_code == 502
        assert "could not be reached" in answer.content.decode()
        assert last_failure() == ("", "Example & Co failed")


def test_without_settings_there_is_no_such_way(client: Client, owner: User):
    assert "Sign in with" not in client.get("/account/login/").content.decode()
    for path in (START, f"{START}callback/", "/account/oidc/other/login/"):
        assert client.get(path).status_code == 404


def test_wrong_passwords_do_not_close_it(sso: None, client: Client, owner: User):
    for _ in range(6):
        client.post("/account/login/", {"login": "olga", "password": "wrong"})
    come_back(client, "olga")
    assert signed_in_as(client) == owner
