"""What every page tells everybody: announcements, and that the platform is being worked on."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Announcement
from accounts.notices import current_maintenance

MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Notice:
    text: str
    is_warning: bool = False


def notices(request: HttpRequest) -> dict[str, Any]:
    """For all templates. Two queries, of those that show them (`notices.html`)."""
    return {"notices": SimpleLazyObject(current_notices)}


def current_notices() -> list[Notice]:
    found = [Notice(each.text) for each in Announcement.objects.current()[:MOST_SHOWN]]
    if maintenance := current_maintenance():
        found.insert(0, Notice(f"Maintenance: {maintenance.sentence()} New requests are refused.", is_warning=True))
    return found
