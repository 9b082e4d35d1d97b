"""Who may change a quota does it here: one transaction with its audit row, and an event to all gateways."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import audit, events
from accounts.models import ApiKey, Quota, QuotaBoost, Team, User
from accounts.quotas.rules import CHANGED


@transaction.atomic
def do_set_quota(
    *,
    metric: str,
    limit: int,
    acting_user: User | None,
    window: str = "",
    team: Team | None = None,
    user: User | None = None,
    key: ApiKey | None = None,
    model: str = "",
    is_new: bool = False,
    **more: Any,
) -> Quota:
    """The one quota of this metric and window for this team, user, key and model: made, or, unless it has to be new,
    changed. What has been used of it in the running window stays used. more: `is_soft`, `warn_percent`, weights,
    `is_active`."""
    quota = Quota(team=team, user=user, key=key, model=model, metric=metric, window=window, limit=limit)
    known = Quota.objects.select_for_update(of=("self",)).filter(identity=quota.identified()).first()
    return _save(quota if is_new or known is None else known, {"limit": limit, **more}, acting_user)


@transaction.atomic
def do_change_quota(quota: Quota, *, acting_user: User | None, **changes: Any) -> Quota:
    return _save(Quota.objects.select_for_update(of=("self",)).get(pk=quota.pk), changes, acting_user)


@transaction.atomic
def do_delete_quota(quota: Quota, *, acting_user: User | None) -> None:
    audit.record("quota.deleted", quota, acting_user=acting_user, before=quota.facts())
    events.publish_on_commit(CHANGED)
    quota.delete()


@transaction.atomic
def do_boost_quota(
    quota: Quota,
    *,
    amount: int,
    ends_at: datetime,
    acting_user: User | None,
    starts_at: datetime | None = None,
    note: str = "",
) -> QuotaBoost:
    """So much more until then. Boosts add up."""
    boost = QuotaBoost(quota=quota, amount=amount, starts_at=starts_at or timezone.now(), ends_at=ends_at, note=note)
    boost.full_clean()
    boost.save()
    audit.record("quota.boosted", quota, acting_user=acting_user, after=boost.facts())
    events.publish_on_commit(CHANGED)
    return boost


def draft(**fields: Any) -> Quota:
    """One to try out, not to store. Raises ValidationError as for one that is stored."""
    quota = Quota(**fields)
    quota.clean_fields(exclude=["identity"])
    quota.clean_meaning()
    return quota


def _save(quota: Quota, changes: dict[str, Any], acting_user: User | None) -> Quota:
    before = quota.facts() if quota.pk else None
    for name, value in changes.items():
        setattr(quota, name, value)
    if before and quota.is_active and not before["is_active"]:
        quota.activations += 1
    quota.clean_fields()
    quota.clean()
    quota.save()
    action = "quota.changed" if before else "quota.set"
    audit.record(action, quota, acting_user=acting_user, before=before, after=quota.facts())
    events.publish_on_commit(CHANGED)
    return quota
