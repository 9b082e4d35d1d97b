"""Signing in with a password, and where that leads."""

import json
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client

from accounts.models import AuditEvent, Team, User
from accounts.services import do_change_user
from tests.accounts.admin_pages import signed_in
from tests.accounts.sign_in_pages import LOGIN, acts, sign_in, signed_in_as


def test_a_user_lands_on_a_page_of_its_own(client: Client, owner: User, team: Team):
    answer = sign_in(client, "olga", "battery staple")
    assert (answer.status_code, answer["Location"]) == (302, "/account/")
    page = client.get("/account/").content.decode()
    assert "olga" in page and "Vision" in page and "/admin/" not in page
    event = AuditEvent.objects.get(action="user.signed_in")
    assert (event.actor, event.target_label) == (owner, "olga")
    assert event.after == {"methods": ["password"], "address": "127.0.0.1"}


def test_an_admin_lands_in_the_admin(client: Client, root: User):
    assert sign_in(client, "root", "correct horse")["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert 'href="/admin/"' in client.get("/account/").content.decode()


def test_case_and_blanks_around_the_name_do_not_matter(client: Client, owner: User):
    sign_in(client, " OLGA ", "battery staple")
    assert signed_in_as(client) == owner


def test_names_that_differ_in_case_alone_are_refused(owner: User, stranger: User):
    from django.core.exceptions import ValidationError

    for act in (lambda: do_change_user(stranger, username="Olga", acting_user=None),
                lambda: User(username="OLGA", password="x").full_clean()):  # fmt: skip
        with pytest.raises(ValidationError) as refused:
            act()
        assert "case" in str(refused.value)
    do_change_user(owner, username="Olga", acting_user=None)


def test_the_admin_sends_everybody_to_the_one_sign_in(client: Client, owner: User, root: User):
    for path in ("/admin/", "/admin/accounts/user/"):
        page = client.get(path, follow=True)
        assert page.request["PATH_INFO"] == LOGIN
        assert page.wsgi_request.GET["next"] == path
    # Posting where Django's own page was signs nobody in: it would know no second factor.
    client.post("/admin/login/", {"username": "root", "password": "correct horse"})
    assert signed_in_as(client) is None
    assert signed_in(owner).get("/admin/", follow=True).request["PATH_INFO"] == "/account/"
    assert signed_in(root).get("/admin/login/?next=/admin/accounts/user/")["Location"] == "/admin/accounts/user/"
    assert signed_in(root).get("/admin/password_change/")["Location"] == "/account/password/"


def test_a_wrong_password_says_nothing_more(client: Client, owner: User):
    known, unknown = sign_in(client, "olga", "wrong"), sign_in(client, "olgä", "wrong")
    for answer in (known, unknown):
        assert answer.status_code == 200
        assert "No user has this name and this password." in answer.content.decode()
    assert signed_in_as(client) is None


def test_failed_sign_ins_are_recorded_without_what_was_typed(client: Client, owner: User):
    sign_in(client, "Olga", "hush-1")
    sign_in(client, "hush-in-the-wrong-field", "hush-2")
    known, unknown = AuditEvent.objects.filter(action="user.sign_in_failed").order_by("pk")
    assert (known.actor, known.target_label, known.target_id) == (None, "olga", str(owner.pk))
    assert (unknown.actor, unknown.actor_name, unknown.target_label, unknown.target_id) == (None, "", "", "")
    assert known.after == unknown.after == {"reason": "wrong password", "address": "127.0.0.1"}
    assert "hush" not in json.dumps(list(AuditEvent.objects.values()), cls=DjangoJSONEncoder)


def test_an_inactive_user_is_told_so_by_the_right_password_alone(client: Client, owner: User):
    do_change_user(owner, is_active=False, acting_user=None)
    assert "No user has this name" in sign_in(client, "olga", "wrong").content.decode()
    assert sign_in(client, "olga", "battery staple")["Location"] == "/account/inactive/"
    assert "inactive" in client.get("/account/inactive/").content.decode()
    assert signed_in_as(client) is None
    assert AuditEvent.objects.latest("pk").after == {"reason": "inactive user", "address": "127.0.0.1"}


@pytest.mark.parametrize("leaving", ["/account/logout/", "/admin/logout/"])
def test_signing_out(client: Client, root: User, leaving: str):
    sign_in(client, "root", "correct horse")
    client.get(leaving)
    assert signed_in_as(client) == root, "looking at a link signs nobody out"
    assert client.post(leaving)["Location"] == LOGIN
    assert signed_in_as(client) is None
    assert acts() == ["user.signed_in", "user.signed_out"]


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "http:evil.example", "javascript:alert(1)", "http://localhost:9999/",
     "\\\\evil.example", "/\\evil.example", "https://testserver.evil.example/", "http://testserver@evil.example/"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(client: Client, owner: User, elsewhere: str):
    answer = client.post(LOGIN, {"login": "olga", "password": "battery staple", "next": elsewhere})
    assert answer["Location"] == "/account/"
    for path in (LOGIN, "/admin/login/"):
        assert client.get(path, {"next": elsewhere})["Location"] == "/account/"
    assert client.post("/account/logout/", {"next": elsewhere})["Location"] == LOGIN
    assert client.get("/admin/login/", {"next": elsewhere})["Location"] == f"{LOGIN}?next=/admin/"


def test_next_leads_back_to_our_own_page(client: Client, owner: User):
    form = {"login": "olga", "password": "battery staple", "next": "/docs/api/"}
    assert client.post(LOGIN, form)["Location"] == "/docs/api/"


def test_forms_of_other_sites_are_refused(owner: User):
    strict = Client(enforce_csrf_checks=True)
    assert sign_in(strict, "olga", "battery staple").status_code == 403
    strict.force_login(owner)
    for path in ("/account/logout/", "/account/password/", "/invitation/", "/account/2fa/totp/activate/"):
        assert strict.post(path).status_code == 403, path
    assert signed_in_as(strict) == owner


@pytest.mark.parametrize(
    "name", ["\0", "x" * 10_000, "<script>alert(1)</script>", "' or 1=1 --", "", "a\r\nSet-Cookie: b"]
)
def test_names_that_can_t_be_are_refused_quietly(client: Client, owner: User, name: str):
    answer = sign_in(client, name, "battery staple")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()
    assert signed_in_as(client) is None


@pytest.mark.parametrize("password", ["\0", "x" * 100_000, "\ud7ff\uffff"])
def test_passwords_that_can_t_be_are_refused_quietly(client: Client, owner: User, password: str):
    assert sign_in(client, "olga", password).status_code == 200
    assert signed_in_as(client) is None


def test_nobody_can_sign_up_or_have_mail_sent(client: Client, db: None):
    for path in ("signup/", "email/", "password/reset/", "3rdparty/", "3rdparty/signup/", "oidc/sso/login/"):
        assert client.get(f"/account/{path}").status_code == 404, path
        assert client.post(f"/account/{path}").status_code == 404, path


def test_pages_of_one_s_own_ask_to_sign_in_first(client: Client, db: None):
    for path in ("/account/", "/account/password/", "/account/2fa/", "/account/2fa/recovery-codes/"):
        assert client.get(path)["Location"].startswith(LOGIN), path


# --- One's own password


def test_changing_one_s_password(client: Client, owner: User):
    sign_in(client, "olga", "battery staple")
    elsewhere = signed_in(owner)
    new = "a long enough pass phrase"
    form = {"oldpassword": "battery staple", "password1": new, "password2": new}
    wrong = client.post("/account/password/", {**form, "oldpassword": "wrong"})
    assert "oldpassword" in wrong.context["form"].errors
    weak = client.post("/account/password/", {**form, "password1": "12345678", "password2": "12345678"})
    assert weak.status_code == 200
    assert client.post("/account/password/", form)["Location"] == "/account/"
    owner.refresh_from_db()
    assert owner.check_password(new)
    assert signed_in_as(client) == owner
    assert signed_in_as(elsewhere) is None, "other sessions have ended"
    event = AuditEvent.objects.get(action="user.password_set")
    assert (event.actor, event.after) == (owner, {"password_is_set": True})


def test_who_has_no_password_can_t_set_one_alone(client: Client, owner: User):
    owner.set_unusable_password()
    owner.save()
    client.force_login(owner)
    assert client.get("/account/password/", follow=True).request["PATH_INFO"] == "/account/"
    answer = client.post("/account/password/none/", {"password1": "x" * 20, "password2": "x" * 20})
    assert answer["Location"] == "/account/"
    owner.refresh_from_db()
    assert not owner.has_usable_password()


def test_pages_show_names_as_text(client: Client, owner: User, settings: Any):
    from accounts.services import do_add_member, do_create_team

    do_add_member(do_create_team("<b>Bold</b> & co", acting_user=None), owner, acting_user=None)
    client.force_login(owner)
    page = client.get("/account/").content.decode()
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; co" in page and "<b>Bold" not in page
