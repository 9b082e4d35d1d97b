"""Oneself, teams, who is in them, and their service accounts."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.api.base import Given, View
from accounts.api.schema import PAGED, SLUG_PARAMETER, USER_PARAMETER, operation, page_of
from accounts.authentication import Principal
from accounts.models import Membership, Team, User
from accounts.models.priority import PriorityClass
from accounts.permissions import Action, managing, teams_where
from accounts.service_accounts import do_create_service_account, do_delete_service_account


class OwnMembership(serializers.Serializer):  # type: ignore[misc]  # has no types; so the others
    team = serializers.CharField(source="team.slug")
    name = serializers.CharField(source="team.name")
    role = serializers.ChoiceField(Membership.Role.choices)


class Myself(serializers.Serializer):  # type: ignore[misc]
    username = serializers.CharField()
    email = serializers.CharField()
    is_platform_admin = serializers.BooleanField(source="is_superuser")
    service_account_of = serializers.CharField(source="service_of.slug", allow_null=True, default=None)
    teams = OwnMembership(many=True)
    key = serializers.CharField(allow_null=True, help_text="How the key begins that asks; null for a session.")


class TeamShown(serializers.Serializer):  # type: ignore[misc]
    slug = serializers.CharField(help_text="Its name in paths; a rename leaves it.")
    name = serializers.CharField()
    time_zone = serializers.CharField(help_text="Whose days its quotas go by; empty: the platform's.")
    highest_class = serializers.ChoiceField(
        PriorityClass.choices, help_text="The first class of the queue that its keys may use; the platform's to set."
    )
    created_at = serializers.DateTimeField()


class TeamGiven(Given):
    name = serializers.CharField(max_length=100)
    time_zone = serializers.CharField(max_length=64, allow_blank=True, required=False)


class MemberShown(serializers.Serializer):  # type: ignore[misc]
    username = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(Membership.Role.choices)


class MemberGiven(Given):
    username = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(Membership.Role.choices, default=Membership.Role.MEMBER)


class RoleGiven(Given):
    role = serializers.ChoiceField(Membership.Role.choices)


class ServiceAccountShown(serializers.Serializer):  # type: ignore[misc]
    username = serializers.CharField(help_text="`name@team`.")
    team = serializers.CharField(source="service_of.slug")
    created_at = serializers.DateTimeField(source="date_joined")


class ServiceAccountGiven(Given):
    name = serializers.CharField(max_length=48)


def people_in(team: Team) -> QuerySet[Membership]:
    return team.memberships.filter(user__service_of=None).select_related("user", "team")


def accounts_of(team: Team) -> QuerySet[User]:
    return team.service_accounts.filter(is_active=True).select_related("service_of")


class Me(View):
    @operation("me", gives=Myself)
    def get(self, request: Request) -> Response:
        """Who asks, and their roles."""
        principal: Principal | None = request.auth
        memberships = self.user.memberships.select_related("team").order_by("team__name")
        user = self.user
        found = {
            "username": user.username, "email": user.email, "is_superuser": user.is_superuser,
            "service_of": user.service_of, "teams": memberships, "key": principal and principal.key_prefix,
        }  # fmt: skip
        return Response(Myself(found).data)


class Teams(View):
    @operation("listTeams", query=PAGED, gives=page_of(TeamShown))
    def get(self, request: Request) -> Response:
        """Those that one is in; all, for a platform admin."""
        return self.page(teams_where(self.user, Action.SEE_TEAM), lambda team: TeamShown(team).data)

    @operation("createTeam", takes=TeamGiven, gives=TeamShown, status=201)
    def post(self, request: Request) -> Response:
        """Platform admins only."""
        self.need(Action.PLATFORM)
        team = services.do_create_team(**self.given(TeamGiven), acting_user=self.user)
        return Response(TeamShown(team).data, status.HTTP_201_CREATED)


@extend_schema(parameters=[SLUG_PARAMETER])
class TeamDetail(View):
    @operation("getTeam", gives=TeamShown)
    def get(self, request: Request, slug: str) -> Response:
        return Response(TeamShown(self.team(slug)).data)

    @operation("changeTeam", takes=TeamGiven(partial=True), gives=TeamShown)
    def patch(self, request: Request, slug: str) -> Response:
        """Its name or time zone."""
        team = self.team(slug, Action.CHANGE_TEAM)
        if changes := self.given(TeamGiven, partial=True):
            services.do_change_team(team, acting_user=self.user, **changes)
            team.refresh_from_db()
        return Response(TeamShown(team).data)


@extend_schema(parameters=[SLUG_PARAMETER])
class Members(View):
    @operation("listMembers", query=PAGED, gives=page_of(MemberShown))
    def get(self, request: Request, slug: str) -> Response:
        """Who is in the team, service accounts aside."""
        return self.page(people_in(self.team(slug)), lambda membership: MemberShown(membership).data)

    @operation("addMember", takes=MemberGiven, gives=MemberShown, status=201)
    def post(self, request: Request, slug: str) -> Response:
        """Platform admins only: others invite, and need not know who has an account here."""
        team = self.team(slug)
        self.need(Action.PLATFORM)
        given = self.given(MemberGiven)
        user = User.objects.filter(username=given["username"]).first()
        if user is None:
            raise ValidationError({"username": ["There is no user of this name."]})
        membership = services.do_add_member(team, user, role=given["role"], acting_user=self.user)
        return Response(MemberShown(membership).data, status.HTTP_201_CREATED)


@extend_schema(parameters=[SLUG_PARAMETER, USER_PARAMETER])
class MemberDetail(View):
    @operation("changeRole", takes=RoleGiven, gives=MemberShown)
    def patch(self, request: Request, slug: str, username: str) -> Response:
        """Another role. Somebody who becomes a viewer loses the keys for the team."""
        membership = self.membership(slug, username)
        role = self.given(RoleGiven)["role"]
        self.need(managing(role), membership.team)
        services.do_change_role(membership, role, acting_user=self.user)
        membership.refresh_from_db(fields=["role"])
        return Response(MemberShown(membership).data)

    @operation("removeMember", status=204)
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """Out of the team. The keys for it are revoked."""
        services.do_remove_member(self.membership(slug, username), acting_user=self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def membership(self, slug: str, username: str) -> Membership:
        """One that may be managed. Raises NotFound, PermissionDenied."""
        team = self.team(slug)
        found = people_in(team).filter(user__username=username).first()
        if found is None:
            raise NotFound("There is nobody of this name in the team.")
        self.need(managing(found.role), team)
        return found


@extend_schema(parameters=[SLUG_PARAMETER])
class ServiceAccounts(View):
    @operation("listServiceAccounts", query=PAGED, gives=page_of(ServiceAccountShown))
    def get(self, request: Request, slug: str) -> Response:
        """Those of the team, for whoever may manage them."""
        accounts = accounts_of(self.team(slug, Action.SERVICE_ACCOUNTS))
        return self.page(accounts, lambda account: ServiceAccountShown(account).data)

    @operation("createServiceAccount", takes=ServiceAccountGiven, gives=ServiceAccountShown, status=201)
    def post(self, request: Request, slug: str) -> Response:
        """A user for a program of the team's. `POST /api/keys/` issues its keys."""
        team = self.team(slug, Action.SERVICE_ACCOUNTS)
        account = do_create_service_account(team, **self.given(ServiceAccountGiven), acting_user=self.user)
        return Response(ServiceAccountShown(account).data, status.HTTP_201_CREATED)


@extend_schema(parameters=[SLUG_PARAMETER, USER_PARAMETER])
class ServiceAccountDetail(View):
    @operation("removeServiceAccount", status=204)
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """It and its keys stop working; what it used stays in the ledger."""
        account = accounts_of(self.team(slug, Action.SERVICE_ACCOUNTS)).filter(username=username).first()
        if account is None:
            raise NotFound("The team has no service account of this name.")
        do_delete_service_account(account, acting_user=self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
