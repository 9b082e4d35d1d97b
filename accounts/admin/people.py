"""Users and teams."""

import copy
from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import services
from accounts.admin.base import acting_user
from accounts.admin.editing import EditableAdmin
from accounts.admin.user_actions import UserActions
from accounts.models import ApiKey, Membership, Team, User
from accounts.own_teams import do_create_own_team

# Who may do what is a matter of roles in teams; a page of Django's own groups would change it without an audit row.
admin.site.unregister(Group)

# allauth's pages would do so, too: whom a provider knows, second factors, providers.
for model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(model)

GONE_WITH_A_USER = {model._meta.verbose_name for model in (ApiKey, Authenticator, EmailAddress, SocialAccount)}
PRIVILEGES = ["is_staff", "is_superuser", "groups", "user_permissions"]


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]  # unfold has no types
    acting_user: User

    def clean(self) -> None:
        super().clean()
        if cast(User, self.user).is_service_account() and self.cleaned_data.get("set_usable_password"):
            self.add_error("password1", "Nobody signs in as a service account: it has no password.")

    def save(self, commit: bool = True) -> User:
        user = cast(User, self.user)
        password = self.cleaned_data["password1"] if self.cleaned_data["set_usable_password"] else None
        services.do_set_password(user, password, acting_user=self.acting_user)
        return user


class UserForm(UserChangeForm):  # type: ignore[misc]  # unfold has no types
    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        keeps = all(given.get(name, True) for name in ("is_active", "is_superuser"))
        if not keeps and self.instance.is_only_admin():
            raise ValidationError("This is the last active admin; make somebody else an admin first.")
        return given


@admin.register(User)
class UserAdmin(UserActions, DjangoUserAdmin, EditableAdmin):  # type: ignore[type-arg, misc]
    form = UserForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    actions = ["reset_link", "remove_second_factor", "offboard"]
    list_display = ["username", "email", "is_active", "is_staff", "is_superuser", "service_of", "last_login"]
    list_select_related = ["service_of"]
    list_filter = ["is_active", "is_staff", "is_superuser", ("service_of", admin.EmptyFieldListFilter), "teams"]
    readonly_fields = ["service_of", "last_login", "date_joined"]
    fieldsets = [
        *cast(Any, DjangoUserAdmin.fieldsets),
        ("Service account", {"fields": ["service_of"]}),
        ("Share of the machine", {"fields": ["weight"]}),
    ]
    add_fieldsets = [(None, {"fields": ["username", "email", "usable_password", "password1", "password2"]})]

    # Who may change users but is no superuser can't become one: neither by a tick nor by a superuser's password.

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))
        return fields if acting_user(request).is_superuser else fields + PRIVILEGES

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_no_superior(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self._is_no_superior(request, obj)

    def _is_no_superior(self, request: HttpRequest, obj: User | None) -> bool:
        return obj is None or not obj.is_superuser or acting_user(request).is_superuser

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            if changes:
                services.do_change_user(obj, acting_user=acting_user(request), **changes)
            return
        usable = form.cleaned_data.get("set_usable_password", True)
        created = services.do_create_user(
            obj.username,
            password=form.cleaned_data["password1"] if usable else None,
            email=obj.email,
            acting_user=acting_user(request),
        )
        do_create_own_team(created, acting_user=acting_user(request))
        # The page goes on with `obj`: it becomes the row that was stored.
        obj.__dict__.update(created.__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: groups and permissions were stored, and audited, with the user."""

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.do_delete_user(obj, acting_user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset.order_by("pk"):
            services.do_delete_user(user, acting_user=acting_user(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A user's keys go with the user, though nobody may delete a key alone. The last admin stays."""
        to_delete, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        chosen = [user.pk for user in objs]
        if not forbidden and not User.objects.filter(is_active=True, is_superuser=True).exclude(pk__in=chosen).exists():
            protected.append("the last active admin")
        return to_delete, counts, forbidden - GONE_WITH_A_USER, protected

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        # The form has to know who acts, and this object is shared between requests: the view runs on a copy.
        actor = acting_user(request)

        class ActorsPasswordForm(PasswordForm):
            acting_user = actor

        page = copy.copy(self)
        page.change_password_form = ActorsPasswordForm
        return super(UserAdmin, page).user_change_password(request, id, form_url)


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            # Another user is another membership: remove this one and add that.
            self.fields["user"].disabled = True


class MembershipInline(TabularInline):  # type: ignore[misc]  # unfold has no types
    model = Membership
    form = MembershipForm
    autocomplete_fields = ["user"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Service accounts have pages of their own, and can't be put out of their team."""
        found: QuerySet[Membership] = super().get_queryset(request)
        return found.filter(user__service_of=None)


@admin.register(Team)
class TeamAdmin(EditableAdmin):
    list_display = ["name", "slug", "highest_class", "weight", "created_at"]
    search_fields = ["name"]
    ordering = ["name"]
    fields = ["name", "time_zone", "highest_class", "weight"]
    inlines = [MembershipInline]

    def also_seen(self, obj: Team) -> dict[str, object]:
        members = obj.memberships.select_related("user").order_by("user__username")
        return {"members": ", ".join(f"{each.user.username} ({each.role})" for each in members) or "none"}

    def get_actions(self, request: HttpRequest) -> Any:
        """Teams are deleted one by one: each has to be asked whether it is in use."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def has_delete_permission(self, request: HttpRequest, obj: Team | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.is_in_use())

    def save_model(self, request: HttpRequest, obj: Team, form: Any, change: bool) -> None:
        if not change:
            fields = {name: getattr(obj, name) for name in self.fields}
            created = services.do_create_team(**fields, acting_user=acting_user(request))
            obj.__dict__.update(created.__dict__)
        elif changes := {name: form.cleaned_data[name] for name in form.changed_data if name in self.fields}:
            services.do_change_team(obj, acting_user=acting_user(request), **changes)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        for membership in formset.deleted_objects:
            services.do_remove_member(membership, acting_user=acting_user(request))
        for membership, _fields in formset.changed_objects:
            services.do_change_role(membership, membership.role, acting_user=acting_user(request))
        for membership in formset.new_objects:
            services.do_add_member(
                form.instance, membership.user, role=membership.role, acting_user=acting_user(request)
            )

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        services.do_delete_team(obj, acting_user=acting_user(request))
