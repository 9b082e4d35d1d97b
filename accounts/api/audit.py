"""The audit log: all of it for platform admins, their teams' for owners."""

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import View
from accounts.api.schema import PAGED, in_query, operation, page_of
from accounts.models import AuditEvent
from accounts.permissions import Action, may, teams_where


class AuditEventShown(serializers.Serializer):  # type: ignore[misc]  # has no types
    id = serializers.IntegerField()
    at = serializers.DateTimeField(source="created_at")
    actor = serializers.CharField(source="actor_name", help_text="Empty: the command line, or the platform itself.")
    action = serializers.CharField(help_text="Such as `key.revoked`.")
    target_type = serializers.CharField()
    target = serializers.CharField(source="target_label")
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)


class Audit(View):
    @operation(
        "listAuditEvents",
        gives=page_of(AuditEventShown),
        query=[*PAGED, in_query("team", "Only this team's."), in_query("action", "Only these.")],
    )
    def get(self, request: Request) -> Response:
        """Who changed what, newest first."""
        rows = AuditEvent.objects.select_related("team")
        slug, action = self.query("team"), self.query("action")
        if slug is not None:
            rows = rows.filter(team=self.team(slug, Action.AUDIT))
        elif not may(self.user, Action.PLATFORM):
            teams = teams_where(self.user, Action.AUDIT)
            if not teams.exists():
                raise PermissionDenied("The audit log is for platform admins, and a team's for its owners.")
            rows = rows.filter(team__in=teams)
        if action is not None:
            rows = rows.filter(action=action)
        return self.page(rows, lambda event: AuditEventShown(event).data)
