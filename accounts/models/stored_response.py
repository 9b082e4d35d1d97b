"""Responses that clients asked to keep (`store`). With files and batches the only place where what people say is kept:
for their owner alone, until they expire or are deleted."""

from django.db import models
from django.utils import timezone

from accounts.models.people import Team, User


class StoredResponseQuerySet(models.QuerySet["StoredResponse"]):
    def live(self) -> "StoredResponseQuerySet":
        return self.filter(expires_at__gt=timezone.now())

    def expired(self) -> "StoredResponseQuerySet":
        """Nobody gets to see these any more; the worker deletes them."""
        return self.filter(expires_at__lte=timezone.now())

    def owned_by(self, *, user_id: int, team_id: int | None) -> "StoredResponseQuerySet":
        """Those that keys of this user for this team (None: for no team) have made."""
        owned = self.filter(user_id=user_id)
        return owned.filter(team=None) if team_id is None else owned.filter(team_id=team_id)


class StoredResponse(models.Model):
    response_id = models.CharField(max_length=80, unique=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="responses")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="responses")
    # JSON as it goes over the wire. Text, for PostgreSQL's jsonb refuses the null character, which a prompt may hold.
    input_items = models.TextField()
    """All that the model was shown: the items before this response's own input as well."""
    response = models.TextField()
    """The answer as its client got it, output items included."""
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    """Indexed for the worker, which deletes the expired ones."""

    objects = models.Manager.from_queryset(StoredResponseQuerySet)()

    def __str__(self) -> str:
        return self.response_id
