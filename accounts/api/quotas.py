"""Quotas: those that hold for oneself, with what is used of them; to platform admins all, to set and to try out."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import Given, View
from accounts.api.schema import ID_PARAMETER, PAGED, operation, page_of
from accounts.models import ApiKey, Quota, Team, User
from accounts.models.quota import LARGEST_LIMIT, LARGEST_WEIGHT
from accounts.permissions import Action, may
from accounts.quotas import verbs
from accounts.quotas.rules import rule_of
from accounts.quotas.seeding import used_now
from accounts.quotas.what_if import MOST_DAYS, what_if

LARGEST_ID = 2**63 - 1
WEIGHT: dict[str, Any] = {
    "max_digits": 7, "decimal_places": 3, "min_value": 0, "max_value": LARGEST_WEIGHT, "required": False,
}  # fmt: skip


class BoostShown(serializers.Serializer):  # type: ignore[misc]  # has no types; so the others
    amount = serializers.IntegerField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    note = serializers.CharField()


class QuotaShown(serializers.Serializer):  # type: ignore[misc]
    id = serializers.IntegerField()
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    user = serializers.CharField(source="user.username", allow_null=True, default=None)
    key = serializers.IntegerField(source="key_id", allow_null=True)
    key_prefix = serializers.CharField(source="key.prefix", allow_null=True, default=None)
    model = serializers.CharField(help_text="Empty: any.")
    metric = serializers.ChoiceField(Quota.Metric.choices)
    window = serializers.ChoiceField([*Quota.Window.choices, ("", "now")], help_text="Empty for requests at once.")
    limit = serializers.IntegerField()
    is_soft = serializers.BooleanField(help_text="It only warns.")
    warn_percent = serializers.IntegerField()
    input_weight = serializers.FloatField()
    cached_weight = serializers.FloatField()
    output_weight = serializers.FloatField()
    is_active = serializers.BooleanField()
    boosts = BoostShown(many=True)
    limit_now = serializers.IntegerField(help_text="With its boosts.")
    used = serializers.FloatField(help_text="Of the running window, by requests that have ended.")
    resets_at = serializers.DateTimeField(allow_null=True, help_text="Null for `total` and for requests at once.")


class Changeable(Given):
    limit = serializers.IntegerField(min_value=0, max_value=LARGEST_LIMIT)
    is_soft = serializers.BooleanField(required=False)
    warn_percent = serializers.IntegerField(min_value=1, max_value=100, required=False)
    input_weight = serializers.DecimalField(**WEIGHT)
    cached_weight = serializers.DecimalField(**WEIGHT)
    output_weight = serializers.DecimalField(**WEIGHT)
    is_active = serializers.BooleanField(required=False)


class Identified(Given):
    """What makes it this quota and no other."""

    team = serializers.CharField(max_length=100, required=False, allow_null=True, help_text="A slug.")
    user = serializers.CharField(max_length=150, required=False, allow_null=True)
    key = serializers.IntegerField(min_value=1, max_value=LARGEST_ID, required=False, allow_null=True)
    model = serializers.CharField(max_length=200, allow_blank=True, required=False)
    metric = serializers.ChoiceField(Quota.Metric.choices)
    window = serializers.ChoiceField(Quota.Window.choices, allow_blank=True, required=False)


class QuotaGiven(Identified, Changeable):
    pass


class DraftGiven(Identified):
    limit = serializers.IntegerField(min_value=0, max_value=LARGEST_LIMIT)
    input_weight = serializers.DecimalField(**WEIGHT)
    cached_weight = serializers.DecimalField(**WEIGHT)
    output_weight = serializers.DecimalField(**WEIGHT)
    days = serializers.FloatField(min_value=0.001, max_value=MOST_DAYS, default=30, help_text="How far to look back.")


class BoostGiven(Given):
    amount = serializers.IntegerField(min_value=1, max_value=LARGEST_LIMIT)
    ends_at = serializers.DateTimeField()
    starts_at = serializers.DateTimeField(required=False)
    note = serializers.CharField(max_length=200, allow_blank=True, required=False)


class OverShown(serializers.Serializer):  # type: ignore[misc]
    requests = serializers.IntegerField(help_text="Refused.")
    amount = serializers.FloatField(help_text="What would not have been used, in the metric's own units.")


class ExceededShown(serializers.Serializer):  # type: ignore[misc]
    start = serializers.DateTimeField(allow_null=True)
    end = serializers.DateTimeField(allow_null=True)
    used = serializers.FloatField()
    over = OverShown()


class UserOverShown(OverShown):
    username = serializers.CharField()


class WhatIfShown(serializers.Serializer):  # type: ignore[misc]
    unit = serializers.CharField(help_text="Such as `tokens a day`.")
    subject = serializers.CharField(help_text="Whom the draft is for.")
    start = serializers.DateTimeField(help_text="Of what was looked at; later than asked for where there was too much.")
    end = serializers.DateTimeField()
    is_whole = serializers.BooleanField(help_text="Whether all of the time that was asked for was looked at.")
    requests = serializers.IntegerField(help_text="Looked at.")
    windows = serializers.IntegerField(help_text="In which there was a request.")
    exceeded = serializers.IntegerField(help_text="Of those, where something would have been refused or cut.")
    over = OverShown()
    worst = ExceededShown(many=True)
    users = UserOverShown(many=True)


class Quotas(View):
    @operation("listQuotas", query=PAGED, gives=page_of(QuotaShown))
    def get(self, request: Request) -> Response:
        """Those that hold for oneself, the policy of each key aside; all, for a platform admin."""
        every = may(self.user, Action.SET_QUOTAS)
        return self.page(with_all(Quota.objects.all() if every else Quota.objects.holding_for(self.user)), shown)

    @operation("setQuota", takes=QuotaGiven, gives=QuotaShown)
    def post(self, request: Request) -> Response:
        """Makes the quota of this metric and window for this team, user, key and model, or changes it."""
        self.need(Action.SET_QUOTAS)
        given = named(self.given(QuotaGiven))
        quota = verbs.do_set_quota(**given, acting_user=self.user)
        return Response(shown(one(Quota.objects.all(), quota.pk)))


@extend_schema(parameters=[ID_PARAMETER])
class QuotaDetail(View):
    @operation("getQuota", gives=QuotaShown)
    def get(self, request: Request, id: str) -> Response:
        every = may(self.user, Action.SET_QUOTAS)
        return Response(shown(one(Quota.objects.all() if every else Quota.objects.holding_for(self.user), id)))

    @operation("changeQuota", takes=Changeable(partial=True), gives=QuotaShown)
    def patch(self, request: Request, id: str) -> Response:
        """What is used stays used."""
        quota = self.settable(id)
        if changes := self.given(Changeable, partial=True):
            verbs.do_change_quota(quota, acting_user=self.user, **changes)
        return Response(shown(one(Quota.objects.all(), id)))

    @operation("removeQuota", status=204)
    def delete(self, request: Request, id: str) -> Response:
        verbs.do_delete_quota(self.settable(id), acting_user=self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def settable(self, id: str) -> Quota:
        """Raises PermissionDenied whether it is there or not, NotFound for platform admins."""
        self.need(Action.SET_QUOTAS)
        return one(Quota.objects.all(), id)


@extend_schema(parameters=[ID_PARAMETER])
class Boosts(View):
    @operation("boostQuota", takes=BoostGiven, gives=BoostShown, status=201)
    def post(self, request: Request, id: str) -> Response:
        """So much more for a while. Boosts add up."""
        self.need(Action.SET_QUOTAS)
        boost = verbs.do_boost_quota(one(Quota.objects.all(), id), **self.given(BoostGiven), acting_user=self.user)
        return Response(BoostShown(boost).data, status.HTTP_201_CREATED)


class WhatIf(View):
    @operation("tryQuota", takes=DraftGiven, gives=WhatIfShown)
    def post(self, request: Request) -> Response:
        """What such a quota would have refused lately. Changes nothing."""
        self.need(Action.SET_QUOTAS)
        given = named(self.given(DraftGiven))
        end = timezone.now()
        start = end - timedelta(days=given.pop("days"))
        rule = rule_of(verbs.draft(**given))
        found = asdict(what_if(rule, start=start, end=end))
        found["users"] = [{"username": name, **over} for name, over in found["users"]]
        return Response(WhatIfShown({**found, "unit": rule.unit, "subject": rule.subject}).data)


def with_all(quotas: QuerySet[Quota]) -> QuerySet[Quota]:
    return quotas.select_related("team", "user", "key").prefetch_related("boosts")


def one(quotas: QuerySet[Quota], id: str | int) -> Quota:
    """Raises NotFound."""
    found = with_all(quotas).filter(pk=id).first()
    if found is None:
        raise NotFound("There is no such quota, or it does not hold for you.")
    return found


def shown(quota: Quota) -> dict[str, Any]:
    """One query."""
    now, rule = timezone.now(), rule_of(quota)
    standing = {"limit_now": rule.limit_at(now), "used": used_now(rule, now), "resets_at": rule.period(now).end}
    for name, value in standing.items():
        setattr(quota, name, value)
    found: dict[str, Any] = QuotaShown(quota).data
    return found


def named(given: dict[str, Any]) -> dict[str, Any]:
    """With the things in place of their names. Raises ValidationError for what there is not."""
    lookups: dict[str, tuple[Any, str]] = {"team": (Team, "slug"), "user": (User, "username"), "key": (ApiKey, "pk")}
    for name, (model, column) in lookups.items():
        if given.get(name) is not None:
            given[name] = model.objects.filter(**{column: given[name]}).first()
            if given[name] is None:
                raise ValidationError({name: [f"There is no such {name}."]})
    return given
