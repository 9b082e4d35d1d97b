"""The admin's sidebar: pages by the question that they answer."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

Entry = tuple[str, str, str]
"""A page's name, its icon (of Material Symbols), and what it is called here; empty: as its model is."""

GROUPS: list[tuple[str, list[Entry]]] = [
    ("", [
        ("admin:index", "dashboard", "Dashboard"),
        ("console-requests", "bolt", "Live requests"),
    ]),
    ("Usage", [
        ("accounts.usagedaily", "monitoring", "Usage"),
        ("accounts.usagerecord", "receipt_long", "Ledger"),
        ("accounts.quota", "speed", ""),
        ("accounts.price", "sell", ""),
    ]),
    ("People", [
        ("accounts.user", "person", ""),
        ("accounts.team", "groups", ""),
        ("accounts.apikey", "key", ""),
        ("accounts.invitation", "mail", ""),
    ]),
    ("Batches", [("accounts.batch", "stacks", ""), ("accounts.storedfile", "draft", "")]),
    ("Models", [
        ("inference.model", "neurology", ""),
        ("inference.engine", "memory", ""),
        ("inference.sharedprefix", "share", ""),
    ]),
    ("Platform", [
        ("accounts.announcement", "campaign", ""),
        ("accounts.maintenance", "engineering", "Maintenance"),
        ("accounts.auditevent", "history", "Audit log"),
    ]),
]  # fmt: skip
REST = ("More", "table")
"""Where what has no place above goes, and its icon."""
NEEDED = {"console-requests": "accounts.view_usagerecord"}
"""Permissions of pages that are of no model."""


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """What this user may see of it, as unfold wants it."""
    shown = [(title, [item(request, *entry) for entry in entries]) for title, entries in GROUPS]
    placed = {name for _, entries in GROUPS for name, *_ in entries}
    others = sorted(model._meta.label_lower for model in admin.site._registry if model._meta.label_lower not in placed)
    shown.append((REST[0], [item(request, name, REST[1], "") for name in others]))
    found = [(title, [each for each in items if each is not None]) for title, items in shown]
    return [{"title": title, "separator": bool(title), "items": items} for title, items in found if items]


def item(request: HttpRequest, name: str, icon: str, title: str) -> dict[str, Any] | None:
    """None for a page that this user may not see, or that there is not."""
    if "." not in name:
        needed = NEEDED.get(name)
        allowed = needed is None or request.user.has_perm(needed)
        return {"title": title, "icon": icon, "link": reverse(name)} if allowed else None
    page = next((page for model, page in admin.site._registry.items() if model._meta.label_lower == name), None)
    if page is None or not page.has_view_or_change_permission(request):
        return None
    meta = page.model._meta
    link = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return {"title": title or capfirst(meta.verbose_name_plural), "icon": icon, "link": link}
