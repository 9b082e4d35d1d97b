"""Quotas: how much is allowed, to whom, and how much of it is used."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from accounts.admin.base import acting_user
from accounts.admin.editing import EditableAdmin
from accounts.models import Quota, QuotaBoost
from accounts.quotas import verbs
from accounts.quotas.rules import rule_of
from accounts.quotas.seeding import settled_share

IDENTITY = ["team", "user", "key", "model", "metric", "window"]
CHANGEABLE = ["limit", "is_soft", "warn_percent", "input_weight", "cached_weight", "output_weight", "is_active"]

BAR = (
    '<div style="min-width:8rem">'
    '<div style="height:.4rem;border-radius:.2rem;background:rgba(128,128,128,.25)">'
    '<div style="height:100%;border-radius:.2rem;width:{}%;background:{}"></div></div>{} %</div>'
)


class BoostInline(TabularInline):  # type: ignore[misc]  # unfold has no types
    """Boosts are given, and end by themselves; what was given stays to be read."""

    model = QuotaBoost
    fields = ["amount", "starts_at", "ends_at", "note"]
    extra = 0

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Quota)
class QuotaAdmin(EditableAdmin):
    list_display = ["subject_label", "limit_label", "used_bar", "effect", "is_active"]
    list_display_links = ["subject_label", "limit_label"]
    list_select_related = ["team", "user", "key"]
    list_filter = ["metric", "window", "is_active", "is_soft", "team"]
    search_fields = ["team__name", "user__username", "key__prefix", "model"]
    autocomplete_fields = ["team", "user", "key"]
    fieldsets = [
        (None, {"fields": [*IDENTITY, "limit", "is_soft", "warn_percent", "is_active"]}),
        ("What a token counts", {"fields": ["input_weight", "cached_weight", "output_weight"]}),
    ]
    inlines = [BoostInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        found: QuerySet[Quota] = super().get_queryset(request)
        return found.prefetch_related("boosts")

    def get_readonly_fields(self, request: HttpRequest, obj: Quota | None = None) -> list[str]:
        """For others, or of something else, it is another quota: remove this one and add that."""
        return IDENTITY if obj else []

    @admin.display(description="for")
    def subject_label(self, quota: Quota) -> str:
        return quota.subject

    @admin.display(description="limit", ordering="limit")
    def limit_label(self, quota: Quota) -> str:
        return f"{rule_of(quota).limit_at(timezone.now()):,} {quota.unit}"

    @admin.display(description="beyond it")
    def effect(self, quota: Quota) -> str:
        return "a warning" if quota.is_soft else "nothing"

    @admin.display(description="used")
    def used_bar(self, quota: Quota) -> SafeString:
        share = settled_share(rule_of(quota), timezone.now())
        if share is None:
            return SafeString("-")
        colour = "#dc2626" if share >= 1 else "#d97706" if share * 100 >= quota.warn_percent else "#16a34a"
        return format_html(BAR, min(100, round(share * 100)), colour, round(share * 100))

    def save_model(self, request: HttpRequest, obj: Quota, form: Any, change: bool) -> None:
        actor = acting_user(request)
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data if name in CHANGEABLE}
            if changes:
                verbs.do_change_quota(obj, acting_user=actor, **changes)
            return
        fields = {name: getattr(obj, name) for name in [*IDENTITY, *CHANGEABLE]}
        made = verbs.do_set_quota(**fields, is_new=True, acting_user=actor)
        # The page goes on with `obj`: it becomes the row that was stored.
        obj.__dict__.update(made.__dict__)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for boost in formset.save(commit=False):
            verbs.do_boost_quota(
                form.instance, amount=boost.amount, starts_at=boost.starts_at, ends_at=boost.ends_at, note=boost.note,
                acting_user=acting_user(request),
            )  # fmt: skip
        formset.save_m2m()

    def delete_model(self, request: HttpRequest, obj: Quota) -> None:
        verbs.do_delete_quota(obj, acting_user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Quota]) -> None:
        for quota in queryset.order_by("pk"):
            verbs.do_delete_quota(quota, acting_user=acting_user(request))
