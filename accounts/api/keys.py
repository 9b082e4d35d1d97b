"""API keys: issued, rotated and revoked. A key itself is in one answer only, the one that made it."""

from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.api.base import Given, View
from accounts.api.schema import ID_PARAMETER, PAGED, in_query, operation, page_of
from accounts.models import ApiKey, Scope, Team, User
from accounts.models.api_key import MOST_LISTED
from accounts.models.priority import PriorityClass
from accounts.permissions import Action, may, teams_where
from accounts.services import IssuedKey

MOST_HOURS = 24 * 90


def texts(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=200), max_length=MOST_LISTED, **options)


class KeyShown(serializers.Serializer):  # type: ignore[misc]  # has no types; so the others
    id = serializers.IntegerField()
    prefix = serializers.CharField(help_text="How it begins.")
    user = serializers.CharField(source="user.username")
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    note = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    allowed_models = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")
    allowed_networks = serializers.ListField(child=serializers.CharField(), help_text="Empty: from anywhere.")
    priority = serializers.ChoiceField(PriorityClass.choices)
    state = serializers.ChoiceField(ApiKey.State.choices)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="True to a minute.")


class KeyIssued(KeyShown):
    key = serializers.CharField(help_text="The key itself: only here, only now.")


class KeyGiven(Given):
    user = serializers.CharField(
        max_length=150, required=False, help_text="Oneself, if left out; or a service account that one may manage."
    )
    team = serializers.CharField(
        max_length=100, required=False, allow_null=True, help_text="The slug of the team that its usage counts for."
    )
    note = serializers.CharField(max_length=200, allow_blank=True, required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices), required=False, help_text="All but `manage`, if left out."
    )
    allowed_models = texts(required=False)
    allowed_networks = texts(required=False)
    priority = serializers.ChoiceField(PriorityClass.choices, required=False, help_text="`api`, if left out.")


class RotationGiven(Given):
    overlap_hours = serializers.FloatField(
        min_value=0, max_value=MOST_HOURS, default=24, help_text="How long the old key works beside the new one."
    )


class LeakGiven(Given):
    user = serializers.CharField(max_length=150, required=False, help_text="Oneself, if left out.")
    team = serializers.CharField(max_length=100, required=False, help_text="Only the keys for this team.")


class Revoked(serializers.Serializer):  # type: ignore[misc]
    revoked = serializers.IntegerField(help_text="How many were, and worked or might have worked again.")


class Keys(View):
    @operation(
        "listKeys",
        gives=page_of(KeyShown),
        query=[*PAGED, in_query("team", "Everybody's keys for this team, for its owners and admins.")],
    )
    def get(self, request: Request) -> Response:
        """One's own keys; or with `team` a team's."""
        rows = ApiKey.objects.select_related("user", "team")
        slug = self.query("team")
        rows = rows.for_user(self.user) if slug is None else rows.filter(team=self.team(slug, Action.TEAM_KEYS))
        return self.page(rows, lambda key: KeyShown(key).data)

    @operation("issueKey", takes=KeyGiven, gives=KeyIssued, status=201)
    def post(self, request: Request) -> Response:
        """A new key. It is in this answer and nowhere else."""
        given = self.given(KeyGiven)
        owner = self.owner(given.pop("user", None))
        team = self.team_for(owner, given.pop("team", None))
        return shown_once(services.do_issue_key(owner, team=team, **given, acting_user=self.user))

    def owner(self, name: str | None) -> User:
        """Raises ValidationError, the same for somebody who is not there and for somebody who has their own keys."""
        if name is None or name == self.user.username:
            return self.user
        everybody = User.objects.select_related("service_of")
        if not may(self.user, Action.PLATFORM):
            everybody = everybody.filter(service_of__in=teams_where(self.user, Action.SERVICE_ACCOUNTS))
        found = everybody.filter(username=name).first()
        if found is None:
            raise ValidationError({"user": ["You manage no service account of this name."]})
        return found

    def team_for(self, owner: User, slug: str | None) -> Team | None:
        if slug is None:
            return None
        found = teams_where(self.user, Action.SEE_TEAM).filter(slug=slug).first()
        if found is None:
            raise ValidationError({"team": ["There is no such team, or you are not in it."]})
        return found


class KeyAction(View):
    def key(self, id: str) -> ApiKey:
        """One that one may see. Raises NotFound."""
        found = visible(self.user).filter(pk=id).first()
        if found is None:
            raise NotFound("There is no such key, or it is not yours.")
        return found


@extend_schema(parameters=[ID_PARAMETER])
class RotateKey(KeyAction):
    @operation("rotateKey", takes=RotationGiven, gives=KeyIssued, status=201)
    def post(self, request: Request, id: str) -> Response:
        """A key in the place of this one, which works for a while longer. It is in this answer and nowhere else."""
        key = self.key(id)
        if key.user != self.user and not self.manages(key):
            raise PermissionDenied("Only its owner can rotate a key; you can revoke it.")
        overlap = timedelta(hours=self.given(RotationGiven)["overlap_hours"])
        return shown_once(services.do_rotate_key(key, overlap=overlap, acting_user=self.user))

    def manages(self, key: ApiKey) -> bool:
        if key.user.service_of is None:
            return may(self.user, Action.PLATFORM)
        return may(self.user, Action.SERVICE_ACCOUNTS, key.user.service_of)


@extend_schema(parameters=[ID_PARAMETER])
class RevokeKey(KeyAction):
    @operation("revokeKey", gives=KeyShown)
    def post(self, request: Request, id: str) -> Response:
        """It stops working at once. Nothing happens to one that was revoked already."""
        key = self.key(id)
        services.do_revoke_key(key, acting_user=self.user)
        key.refresh_from_db(fields=["revoked_at"])
        return Response(KeyShown(key).data)


class RevokeAllKeys(View):
    @operation("revokeAllKeys", takes=LeakGiven, gives=Revoked)
    def post(self, request: Request) -> Response:
        """When one has leaked and nobody knows which: all keys of oneself; of somebody else for a team, by its owners
        and admins; of anybody, by platform admins."""
        given = self.given(LeakGiven)
        name = given.get("user", self.user.username)
        others = name != self.user.username
        team = None
        if "team" in given:
            team = self.team(given["team"], Action.TEAM_KEYS if others else Action.SEE_TEAM)
        elif others and not may(self.user, Action.PLATFORM):
            raise ValidationError({"team": ["Of somebody else you can revoke the keys for a team of yours: name it."]})
        among = User.objects.all() if team is None else team.users
        user = self.user if not others else among.filter(username=name).first()
        if user is None:
            raise ValidationError({"user": ["There is nobody of this name" + (" in the team." if team else ".")]})
        return Response({"revoked": services.do_revoke_all_keys(user, team=team, acting_user=self.user)})


def visible(user: User) -> QuerySet[ApiKey]:
    """The keys that one may see: one's own, and those for teams where one may see everybody's."""
    keys = ApiKey.objects.select_related("user__service_of", "team")
    if may(user, Action.PLATFORM):
        return keys
    return keys.filter(Q(user=user) | Q(team__in=teams_where(user, Action.TEAM_KEYS)))


def shown_once(issued: IssuedKey) -> Response:
    shown: dict[str, Any] = {**KeyShown(issued.row).data, "key": issued.raw}
    return Response(shown, status.HTTP_201_CREATED)
