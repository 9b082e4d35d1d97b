"""What the tests of the admin's pages share."""

import io
from typing import Any

from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import UsageRecord, User
from accounts.services import do_create_user

MODELS = [
    "user", "team", "apikey", "invitation", "quota", "usagerecord", "usagedaily", "price", "auditevent", "storedfile",
    "batch",
]  # fmt: skip


def page(model: str, view: str, *args: Any) -> str:
    return reverse(f"admin:accounts_{model}_{view}", args=args)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff(*permissions: str) -> User:
    user = do_create_user("staff", password="paper clip", acting_user=None)
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    return user


def open_record(principal: Principal, request_id: str) -> UsageRecord:
    ledger.open_record(
        request_id=request_id,
        principal=principal,
        model="atelier-tiny",
        endpoint="chat.completions",
        stream=False,
        gateway="gateway-1",
        estimated_prompt_tokens=3,
    )
    return UsageRecord.objects.get(request_id=request_id)


def database_dump() -> str:
    """All rows of all tables, sessions and the admin's own log included."""
    out = io.StringIO()
    call_command("dumpdata", stdout=out)
    return out.getvalue()


def change_form(client: Client, user: User) -> dict[str, Any]:
    """What a browser would post of a user's page when nothing was touched."""
    form = client.get(page("user", "change", user.pk)).context["adminform"].form
    return {field.html_name: field.value() for field in form if field.value() not in (None, False)}


USUAL = {"highest_class": "api", "weight": 1}


def team_form(*members: dict[str, Any], initial: int = 0, **fields: Any) -> dict[str, Any]:
    """A team's page with its members' rows."""
    data = {"memberships-TOTAL_FORMS": len(members), "memberships-INITIAL_FORMS": initial, **USUAL, **fields}
    for number, member in enumerate(members):
        data.update({f"memberships-{number}-{name}": value for name, value in member.items()})
    return data
