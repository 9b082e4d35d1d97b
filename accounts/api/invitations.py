"""Invitations to a team. The link is in one answer only, the one that made it."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import Given, View
from accounts.api.schema import ID_PARAMETER, PAGED, SLUG_PARAMETER, operation, page_of
from accounts.invitations import do_invite, do_revoke_invitation
from accounts.links import absolute
from accounts.models import Invitation, Membership
from accounts.models.invitation import LIFETIME, LONGEST
from accounts.permissions import Action, managing


class InvitationShown(serializers.Serializer):  # type: ignore[misc]  # has no types; so the others
    id = serializers.IntegerField()
    role = serializers.ChoiceField(Membership.Role.choices)
    email = serializers.CharField()
    invited_by = serializers.CharField(source="invited_by.username", allow_null=True, default=None)
    state = serializers.ChoiceField(Invitation.State.choices)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class InvitationMade(InvitationShown):
    link = serializers.CharField(help_text="For whom it is meant: only here, only now.")


class InvitationGiven(Given):
    role = serializers.ChoiceField(Membership.Role.choices, default=Membership.Role.MEMBER)
    email = serializers.EmailField(max_length=254, allow_blank=True, required=False)
    days = serializers.IntegerField(min_value=1, max_value=LONGEST.days, default=LIFETIME.days)


@extend_schema(parameters=[SLUG_PARAMETER])
class Invitations(View):
    @operation("listInvitations", gives=page_of(InvitationShown), query=PAGED)
    def get(self, request: Request, slug: str) -> Response:
        """All that were made, decided ones included."""
        rows = self.team(slug, Action.INVITE).invitations.select_related("invited_by")
        return self.page(rows, lambda invitation: InvitationShown(invitation).data)

    @operation("invite", takes=InvitationGiven, gives=InvitationMade, status=201)
    def post(self, request: Request, slug: str) -> Response:
        """A link under which somebody joins the team, once. For roles that one may manage."""
        team = self.team(slug, Action.INVITE)
        given = self.given(InvitationGiven)
        self.need(managing(given["role"]), team)
        issued = do_invite(team, lifetime=timedelta(days=given.pop("days")), **given, acting_user=self.user)
        shown: dict[str, Any] = {**InvitationShown(issued.row).data, "link": absolute(issued.path, request)}
        return Response(shown, status.HTTP_201_CREATED)


@extend_schema(parameters=[SLUG_PARAMETER, ID_PARAMETER])
class InvitationDetail(View):
    @operation("withdrawInvitation", status=204)
    def delete(self, request: Request, slug: str, id: str) -> Response:
        """Its link leads nowhere any more. Nothing happens to one that was accepted."""
        team = self.team(slug, Action.INVITE)
        invitation = team.invitations.filter(pk=id).first()
        if invitation is None:
            raise NotFound("There is no such invitation to the team.")
        self.need(managing(invitation.role), team)
        do_revoke_invitation(invitation, acting_user=self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
