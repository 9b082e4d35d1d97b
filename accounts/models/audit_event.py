"""Who changed what. Written by `accounts.audit` inside the transaction of the change; never updated."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from accounts.models.people import Team, User


class AuditEvent(models.Model):
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="audited_acts")
    """None: the command line or the platform itself, somebody who has not signed in, or a user who is gone (then
    `actor_name` says who)."""
    actor_name = models.CharField(max_length=150, blank=True)
    action = models.CharField(max_length=64)
    """Noun and past tense, such as `key.revoked`."""
    target_type = models.CharField(max_length=64)
    target_id = models.CharField(max_length=64)
    target_label = models.CharField(max_length=200, db_index=True)
    """Indexed for the admin's search by how it begins."""
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, related_name="audit_events", db_index=False)
    """Whose owners may see it, too; None: nobody's."""
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            # The admin's list, and its filters, which also look up here what there is to choose from.
            models.Index(fields=["created_at", "id"], name="audit_created"),
            models.Index(fields=["action", "created_at", "id"], name="audit_action_created"),
            models.Index(fields=["actor_name", "created_at", "id"], name="audit_actor_created"),
            # The history of one thing.
            models.Index(fields=["target_type", "target_id"], name="audit_target"),
            # What was done in one team, newest first.
            models.Index(fields=["team", "id"], name="audit_team"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_label}"
