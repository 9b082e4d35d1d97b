"""What everybody is told: announcements on the site's pages, and that the platform is being worked on."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

FURTHEST = timedelta(days=3660)
"""From now, either way: a time beyond it is a slip of the pen, and more than some databases can store."""


class AnnouncementQuerySet(models.QuerySet["Announcement"]):
    def current(self) -> "AnnouncementQuerySet":
        now = timezone.now()
        return self.filter(Q(ends_at=None) | Q(ends_at__gt=now), starts_at__lte=now)

    def unended(self) -> "AnnouncementQuerySet":
        """Those that are shown now or will be."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gt=timezone.now()))


class Announcement(models.Model):
    """A line that every page of the site shows, for a while."""

    text = models.CharField(max_length=500, help_text="Plain text: what everybody should know.")
    starts_at = models.DateTimeField(default=timezone.now, help_text="From when on pages show it.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Until when; empty: until it is taken down.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = models.Manager.from_queryset(AnnouncementQuerySet)()

    class Meta:
        ordering = ["-starts_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gt=F("starts_at")), name="announcement_ends_after_its_start"
            ),
        ]

    def __str__(self) -> str:
        return self.text if len(self.text) <= 60 else f"{self.text[:59]}…"

    def clean(self) -> None:
        check_line("text", self.text)
        check_time("starts_at", self.starts_at)
        check_time("ends_at", self.ends_at)
        if self.ends_at and self.starts_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": "It would end before it begins; choose a later time."})

    def is_current(self) -> bool:
        now = timezone.now()
        return self.starts_at <= now and (self.ends_at is None or now < self.ends_at)

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {"text": self.text, "starts_at": self.starts_at, "ends_at": self.ends_at}


class Maintenance(models.Model):
    """Whether the platform is being worked on: one row, or none as long as it never was. While it is, nothing new is
    generated; what runs goes on to its end."""

    ONLY = 1
    """The one row's primary key."""

    is_on = models.BooleanField(default=False, help_text="New requests are refused; running ones go on to their end.")
    message = models.CharField(
        max_length=300, blank=True, help_text="Why, in a sentence that everybody gets to read; may be empty."
    )
    until = models.DateTimeField(
        null=True, blank=True, help_text="When it will likely be over, which is told; it ends when it is switched off."
    )
    lets_admins_in = models.BooleanField(default=True, help_text="Keys of administrators work all the same.")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "maintenance"
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="maintenance_is_one_row")]

    def __str__(self) -> str:
        return "maintenance"

    @classmethod
    def stored(cls) -> "Maintenance":
        """The one row; one that was not saved yet where there is none. One query."""
        return cls.objects.filter(pk=cls.ONLY).first() or cls(pk=cls.ONLY)

    def clean(self) -> None:
        check_line("message", self.message)
        check_time("until", self.until)
        if self.is_on and self.until and self.until <= timezone.now():
            raise ValidationError({"until": "That has passed; choose a time to come, or none."})

    def sentence(self) -> str:
        """What users are told."""
        said = self.message or "The platform is being worked on."
        if self.until is None or self.until <= timezone.now():
            return said
        return f"{said} It will likely be back at {timezone.localtime(self.until):%Y-%m-%d %H:%M %Z}."

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {
            "is_on": self.is_on,
            "message": self.message,
            "until": self.until,
            "lets_admins_in": self.lets_admins_in,
        }


def check_line(name: str, text: str) -> None:
    if not text.isprintable():
        raise ValidationError({name: "Write one line, without control characters."})


def check_time(name: str, time: datetime | None) -> None:
    if time is not None and abs(time - timezone.now()) > FURTHEST:
        raise ValidationError({name: "Choose a time within the next ten years."})
