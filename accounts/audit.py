"""The audit log's only writer."""

from collections.abc import Mapping
from typing import Any

from django.db import models

from accounts.models import AuditEvent, Team, User

SECRET_FIELDS = {"password", "digest", "key", "raw", "token", "link", "code"}


def record(
    action: str,
    target: models.Model | None,
    *,
    acting_user: User | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Write what was done to `target`, None for the installation as a whole; call it inside the change's transaction,
    and before a deletion.

    `before` and `after` hold the fields that changed, as JSON takes them. Raises ValueError for a field that would
    put a secret into the log: name the fact instead, such as `{"password_is_set": true}`.
    """
    secret = SECRET_FIELDS & {*(before or ()), *(after or ())}
    if secret:
        raise ValueError(f"The audit log must not hold {', '.join(sorted(secret))}.")
    return AuditEvent.objects.create(
        actor=acting_user,
        actor_name=acting_user.username if acting_user else "",
        action=action,
        target_type=(target._meta.model_name or "") if target else "installation",
        # Nobody, where somebody tried to sign in under a name that no user has.
        target_id="" if target is None or target.pk is None else str(target.pk),
        target_label=str(target or "")[:200],
        team_id=None if target is None else _team_of(target),
        before=before,
        after=after,
    )


def record_failed_sign_in(user: User | None, *, reason: str, address: str) -> AuditEvent:
    """Somebody, who need not be the user, tried to sign in as it; None: as nobody that there is."""
    after = {"reason": reason, "address": address}
    return record("user.sign_in_failed", user or User(), acting_user=None, after=after)


def _team_of(target: models.Model) -> int | None:
    """The team that it is, belongs to, or is for."""
    match target:
        case Team():
            return target.pk
        case User():
            return target.service_of_id
    return getattr(target, "team_id", None)
