"""Users, and the teams that they share the machine in."""

from typing import Any
from zoneinfo import available_timezones

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.text import slugify

from accounts.models.priority import PriorityClass, weight_field


class User(AbstractUser):
    """Someone who may sign in and own keys. `is_active = False` stops all their keys."""

    weight = weight_field()
    service_of = models.ForeignKey(
        "Team", on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="service_accounts"
    )
    """The team that a service account belongs to, and that alone it has keys for; None for persons. Nobody signs in as
    one."""

    class Meta(AbstractUser.Meta):
        constraints = [
            models.CheckConstraint(condition=models.Q(weight__gt=0), name="user_weight_positive"),
            models.CheckConstraint(
                # An unusable password begins so.
                condition=models.Q(service_of=None)
                | models.Q(is_staff=False, is_superuser=False, email="", password__startswith="!"),
                name="service_account_can_not_sign_in",
                violation_error_message=(
                    "A service account has no password and no e-mail address, and is neither staff nor superuser."
                ),
            ),
        ]

    def is_service_account(self) -> bool:
        return self.service_of_id is not None

    def clean(self) -> None:
        super().clean()
        # People sign in without minding case, so that two such names could not be told apart.
        alike = User.objects.filter(username__iexact=self.username).exclude(username=self.username).exclude(pk=self.pk)
        if alike.exists():
            raise ValidationError({"username": "There is a user whose name differs only in case; choose another."})

    def is_only_admin(self) -> bool:
        """Whether nobody could administer this any more without it. One query."""
        if not (self.is_active and self.is_superuser):
            return False
        return not User.objects.filter(is_active=True, is_superuser=True).exclude(pk=self.pk).exists()

    def is_member_of(self, team: "Team") -> bool:
        """One query."""
        return self.role_in(team) is not None

    def role_in(self, team: "Team | int") -> str | None:
        """Of `Membership.Role`; None: the user is not in it. One query."""
        return self.memberships.filter(team=team).values_list("role", flat=True).first()


class Team(models.Model):
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(max_length=100, unique=True, allow_unicode=True, editable=False)
    """Made from the name when the team is created; a rename leaves it, so that what refers to it holds."""
    time_zone = models.CharField(max_length=64, blank=True)
    """Whose days and weeks its quotas go by; empty: the platform's (ATELIER_TIME_ZONE)."""
    highest_class = models.CharField(
        max_length=12,
        choices=PriorityClass,
        default=PriorityClass.API,
        help_text="The first class of the queue that its keys may use.",
    )
    weight = weight_field()
    """Multiplied by the user's."""
    person = models.OneToOneField(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="own_team", editable=False
    )
    """Whose own team it is, made with the user; None: one that people share."""
    created_at = models.DateTimeField(auto_now_add=True)
    users = models.ManyToManyField(User, through="Membership", related_name="teams")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(highest_class__in=PriorityClass.values), name="team_highest_class_known"
            ),
            models.CheckConstraint(condition=models.Q(weight__gt=0), name="team_weight_positive"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.slug = self.slug or slugify(self.name, allow_unicode=True)[:100]
        if not self.slug:
            raise ValidationError({"name": "A team's name needs at least one letter or digit."})
        if self.time_zone and self.time_zone not in available_timezones():
            raise ValidationError({"time_zone": f"“{self.time_zone}” is no time zone, such as Europe/Berlin."})
        # The slug is in no form, so nothing else would check it before the database does.
        if Team.objects.filter(slug=self.slug).exclude(pk=self.pk).exists():
            raise ValidationError({"name": f"“{self.name}” is too much like an existing team's name; choose another."})

    def is_in_use(self) -> bool:
        """Whether keys, usage or service accounts name it, so that it has to stay. At most four queries."""
        used = self.keys.exists() or self.usage.exists() or self.usage_daily.exists()
        return used or self.service_accounts.exists()


class Membership(models.Model):
    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        MEMBER = "member"
        VIEWER = "viewer"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "team"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=["owner", "admin", "member", "viewer"]), name="membership_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"

    def clean(self) -> None:
        user: User | None = getattr(self, "user", None)
        if user is None or user.service_of is None:
            return
        if (user.service_of_id, self.role) != (self.team_id, self.Role.MEMBER):
            message = f"{user} is a service account: a member of team {user.service_of}, of no other, and nothing else."
            raise ValidationError({"user" if self._state.adding else "role": message})

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it. Up to two queries, unless user and team are loaded."""
        return {"user": self.user.username, "team": self.team.name, "role": self.role}
