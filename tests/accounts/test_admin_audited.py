"""Whatever the admin lets an administrator do leaves an audit row that says who did it, and no secret. The registry is
walked: a page, an action or an inline that is new fails here until it is tried out below."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from accounts import files
from accounts.authentication import Principal
from accounts.batches.verbs import do_create_batch
from accounts.invitations import do_invite
from accounts.models import (
    ApiKey,
    AuditEvent,
    Maintenance,
    Membership,
    Quota,
    StoredFile,
    Team,
    UsageRecord,
    User,
)
from accounts.notices import do_announce
from accounts.prices import do_set_price
from accounts.quotas.verbs import do_set_quota
from accounts.services import do_create_team, do_create_user, do_issue_key
from inference.downloads import do_request_download
from inference.models import Model, SharedPrefix
from inference.services import do_share_prefix
from tests.accounts.admin_pages import change_form, page, team_form
from tests.accounts.test_admin_quotas import NO_BOOSTS, form

PASSWORD = "orchard lantern 9"
STANDARD = {"changelist", "add", "change", "delete", "history"}

Try = Callable[[Client], Any]
TRIES: dict[str, Try] = {}
"""By what is done, as `found` words it. Each posts what a browser would."""


def tries(what: str) -> Callable[[Try], Try]:
    def keep(function: Try) -> Try:
        TRIES[what] = function
        return function

    return keep


def somebody(name: str = "olga") -> User:
    return do_create_user(name, password="battery staple", acting_user=None)


def a_quota() -> Quota:
    return do_set_quota(metric="tokens", window="day", limit=9, acting_user=None)


def action(client: Client, model: str, name: str, *objects: Any) -> Any:
    data = {"action": name, ACTION_CHECKBOX_NAME: [each.pk for each in objects], "post": "yes"}
    return client.post(page(model, "changelist"), data)


def members(**first: Any) -> dict[str, Any]:
    """A team's page with Olga's membership, as changed, and a row for another."""
    known = Membership.objects.first()
    return {} if known is None else {"id": known.pk, "user": known.user_id, "role": known.role, **first}


def team_with_olga() -> Team:
    team = do_create_team("Vision", acting_user=None)
    Membership.objects.create(team=team, user=somebody())
    return team


@tries("add user")
def _(client: Client) -> Any:
    fields = {"username": "ulf", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    return client.post(page("user", "add"), fields)


@tries("change user")
def _(client: Client) -> Any:
    user = somebody()
    return client.post(page("user", "change", user.pk), {**change_form(client, user), "first_name": "Olga"})


@tries("delete user")
def _(client: Client) -> Any:
    return client.post(page("user", "delete", somebody().pk), {"post": "yes"})


@tries("delete_selected user")
def _(client: Client) -> Any:
    return action(client, "user", "delete_selected", somebody(), somebody("sten"))


@tries("auth_user_password_change user")
def _(client: Client) -> Any:
    fields = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    return client.post(reverse("admin:auth_user_password_change", args=[somebody().pk]), fields)


@tries("reset_link user")
def _(client: Client) -> Any:
    return action(client, "user", "reset_link", somebody())


@tries("remove_second_factor user")
def _(client: Client) -> Any:
    user = somebody()
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "unread"})
    return action(client, "user", "remove_second_factor", user)


@tries("offboard user")
def _(client: Client) -> Any:
    data = {"action": "offboard", ACTION_CHECKBOX_NAME: [somebody().pk], "confirmed": "yes"}
    return client.post(page("user", "changelist"), data)


@tries("add invitation")
def _(client: Client) -> Any:
    team = do_create_team("Vision", acting_user=None)
    return client.post(page("invitation", "add"), {"team": team.pk, "role": "member", "email": "", "days": 3})


@tries("revoke invitation")
def _(client: Client) -> Any:
    team = do_create_team("Vision", acting_user=None)
    invited = do_invite(team, role="member", email="", lifetime=timedelta(days=1), acting_user=None)
    return action(client, "invitation", "revoke", invited.row)


@tries("add team")
def _(client: Client) -> Any:
    return client.post(page("team", "add"), team_form(name="Sight"))


@tries("change team")
def _(client: Client) -> Any:
    team = do_create_team("Vision", acting_user=None)
    return client.post(page("team", "change", team.pk), team_form(name="Sight"))


@tries("delete team")
def _(client: Client) -> Any:
    return client.post(page("team", "delete", do_create_team("Vision", acting_user=None).pk), {"post": "yes"})


@tries("add membership in team")
def _(client: Client) -> Any:
    team = do_create_team("Vision", acting_user=None)
    row = {"user": somebody().pk, "role": "member"}
    return client.post(page("team", "change", team.pk), team_form(row, name="Vision"))


@tries("change membership in team")
def _(client: Client) -> Any:
    team = team_with_olga()
    return client.post(page("team", "change", team.pk), team_form(members(role="admin"), initial=1, name="Vision"))


@tries("delete membership in team")
def _(client: Client) -> Any:
    team = team_with_olga()
    return client.post(page("team", "change", team.pk), team_form(members(DELETE="on"), initial=1, name="Vision"))


@tries("add apikey")
def _(client: Client) -> Any:
    return client.post(
        page("apikey", "add"), {"user": somebody().pk, "note": "laptop", "scopes": ["generate"], "priority": "api"}
    )


@tries("revoke apikey")
def _(client: Client) -> Any:
    return action(client, "apikey", "revoke", do_issue_key(somebody(), note="", acting_user=None).row)


@tries("add quota")
def _(client: Client) -> Any:
    return client.post(page("quota", "add"), form(user=somebody().pk))


@tries("change quota")
def _(client: Client) -> Any:
    return client.post(page("quota", "change", a_quota().pk), form(limit=3))


@tries("delete quota")
def _(client: Client) -> Any:
    return client.post(page("quota", "delete", a_quota().pk), {"post": "yes"})


@tries("delete_selected quota")
def _(client: Client) -> Any:
    return action(client, "quota", "delete_selected", a_quota())


@tries("add quotaboost in quota")
def _(client: Client) -> Any:
    quota, ends = a_quota(), timezone.now() + timedelta(days=1)
    boost = {
        "boosts-TOTAL_FORMS": 1, "boosts-0-quota": quota.pk, "boosts-0-amount": 5,
        "boosts-0-starts_at_0": "2026-01-01", "boosts-0-starts_at_1": "00:00",
        "boosts-0-ends_at_0": f"{ends:%Y-%m-%d}", "boosts-0-ends_at_1": f"{ends:%H:%M}",
    }  # fmt: skip
    return client.post(page("quota", "change", quota.pk), {**form(limit=9), **NO_BOOSTS, **boost})


def announcement_form(text: str) -> dict[str, Any]:
    return {"text": text, "starts_at_0": "2026-01-01", "starts_at_1": "00:00", "ends_at_0": "", "ends_at_1": ""}


@tries("add announcement")
def _(client: Client) -> Any:
    return client.post(page("announcement", "add"), announcement_form("Tea at four"))


@tries("change announcement")
def _(client: Client) -> Any:
    made = do_announce("Tea at four", acting_user=None)
    return client.post(page("announcement", "change", made.pk), announcement_form("Tea at five"))


@tries("delete announcement")
def _(client: Client) -> Any:
    made = do_announce("Tea at four", acting_user=None)
    return client.post(page("announcement", "delete", made.pk), {"post": "yes"})


@tries("delete_selected announcement")
def _(client: Client) -> Any:
    return action(client, "announcement", "delete_selected", do_announce("Tea at four", acting_user=None))


@tries("change maintenance")
def _(client: Client) -> Any:
    fields = {"is_on": "on", "message": "New disks", "until_0": "", "until_1": "", "lets_admins_in": "on"}
    return client.post(page("maintenance", "change", Maintenance.ONLY), fields)


@tries("add price")
def _(client: Client) -> Any:
    fields = {"model": "qwen", "input": "1", "cached": "", "output": "2", "gpu_hour": "0"}
    return client.post(page("price", "add"), {**fields, "valid_from_0": "", "valid_from_1": ""})


@tries("delete price")
def _(client: Client) -> Any:
    to_come = timezone.now() + timedelta(days=1)
    made = do_set_price("qwen", valid_from=to_come.replace(second=0, microsecond=0), acting_user=None)
    return client.post(page("price", "delete", made.pk), {"post": "yes"})


def a_file() -> StoredFile:
    row = StoredFile(user=somebody(), filename="lines.jsonl", purpose="batch", expires_at=files.lifetime())
    writer = files.Writer(row)
    writer.write(b"{}")
    return writer.finish()


@tries("delete_files storedfile")
def _(client: Client) -> Any:
    return action(client, "storedfile", "delete_files", a_file())


@tries("cancel batch")
def _(client: Client) -> Any:
    file = a_file()
    key = do_issue_key(file.user, acting_user=None).row
    owner = Principal(key.pk, key.prefix, file.user.pk, file.user.username, None, None)
    batch = do_create_batch(owner, endpoint="/v1/responses", input_file_id=file.file_id, window="24h")
    return action(client, "batch", "cancel", batch)


LONG = "You are the assistant of the whole house. Be brief and kind, and answer what is asked, and nothing else."


def a_model() -> Model:
    return Model.objects.create(name="atelier-tiny", source="builtin:atelier-tiny")


def a_prefix() -> SharedPrefix:
    return do_share_prefix(a_model(), LONG, name="house", acting_user=None)


@tries("add sharedprefix")
def _(client: Client) -> Any:
    fields = {"name": "house", "model": a_model().pk, "text": LONG}
    return client.post(reverse("admin:inference_sharedprefix_add"), fields)


@tries("change sharedprefix")
def _(client: Client) -> Any:
    url = reverse("admin:inference_sharedprefix_change", args=[a_prefix().pk])
    return client.post(url, {"name": "house", "text": f"{LONG} More.", "is_pinned": "on"})


@tries("delete sharedprefix")
def _(client: Client) -> Any:
    return client.post(reverse("admin:inference_sharedprefix_delete", args=[a_prefix().pk]), {"post": "yes"})


@tries("delete_selected sharedprefix")
def _(client: Client) -> Any:
    data = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [a_prefix().pk], "post": "yes"}
    return client.post(reverse("admin:inference_sharedprefix_changelist"), data)


def a_hub_model() -> Model:
    return Model.objects.create(name="org/model", source="org/model")


@tries("add model")
def _(client: Client) -> Any:
    return client.post(reverse("admin:inference_model_add"), {"source": "org/model", "do": "add"})


@tries("download model")
def _(client: Client) -> Any:
    return client.post(reverse("admin:inference_model_download", args=[a_hub_model().pk]))


@tries("cancel model")
def _(client: Client) -> Any:
    download = do_request_download(a_hub_model(), acting_user=None)
    return client.post(reverse("admin:inference_model_cancel", args=[download.model_id]))


READS = {"export usagerecord", "export usagedaily", "progress model"}
"""What changes nothing."""


def found(user: User) -> set[str]:
    """All that the registry lets this user do."""
    request = RequestFactory().get("/")
    request.user = user
    doable: set[str] = set()
    for model, model_admin in admin.site._registry.items():
        name = model._meta.model_name
        allowed = {
            "add": model_admin.has_add_permission(request),
            "change": model_admin.has_change_permission(request),
            "delete": model_admin.has_delete_permission(request),
        }
        doable |= {f"{what} {name}" for what, may in allowed.items() if may}
        doable |= {f"{what} {name}" for what in model_admin.get_actions(request)}
        prefix = f"{model._meta.app_label}_{name}_"
        own = {url.name.removeprefix(prefix) for url in model_admin.get_urls() if url.name}
        doable |= {f"{url} {name}" for url in own - STANDARD}
        for inline in model_admin.get_inline_instances(request):
            part = f"{inline.model._meta.model_name} in {name}"
            may = {
                "add": inline.has_add_permission(request, None),
                "change": inline.has_change_permission(request),
                "delete": inline.has_delete_permission(request),
            }
            doable |= {f"{what} {part}" for what, allowed in may.items() if allowed}
    return doable - READS


def test_all_that_can_be_done_is_tried_out(root: User):
    doable = found(root)
    assert doable - set(TRIES) == set(), "tell TRIES how"
    assert set(TRIES) - doable == set(), "nobody can do these any more"
    assert len(doable) > 20


@pytest.mark.parametrize("what", TRIES)
def test_it_leaves_an_audit_row(what: str, boss: Client, root: User):
    answer = TRIES[what](boss)
    assert answer.status_code == 302, what
    events = list(AuditEvent.objects.filter(actor=root))
    assert events, what
    for event in events:
        assert event.actor_name == "root"
        assert event.action and event.target_type and event.target_id and event.target_label
        # A link that was made has changed nothing yet.
        assert event.before is not None or event.after is not None or event.action == "user.reset_link_made"
        if ".changed" in event.action:
            assert event.before != event.after
        said = json.dumps([event.before, event.after, event.target_label])
        for secret in (
            PASSWORD,
            LONG[:30],
            "battery staple",
            "correct horse",
            *ApiKey.objects.values_list("digest", flat=True),
        ):
            assert secret not in said


def test_what_only_grows_is_only_read(boss: Client, record: UsageRecord):
    for model in (UsageRecord, AuditEvent):
        page_of = admin.site._registry[model]
        request = RequestFactory().get("/")
        request.user = User.objects.get(username="root")
        assert not page_of.has_add_permission(request)
        assert not page_of.has_change_permission(request)
        assert not page_of.has_delete_permission(request)
        assert page_of.get_actions(request) == {}
