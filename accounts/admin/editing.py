"""Pages on which several people may work at once: who saves second is told of the first, and overwrites nothing
unseen."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.admin.base import Admin
from accounts.models import AuditEvent

SEEN = "_seen"
"""The hidden field that says what the page showed: for each field a mark of its value."""


class EditableAdmin(Admin):
    change_form_before_template = "admin/seen.html"

    def also_seen(self, obj: Any) -> dict[str, object]:
        """What the page shows of it to edit beside the form's fields, by what it is called there."""
        return {}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        seen = _seen_in(request)
        return form if obj is None or seen is None else _checked(form, seen, lambda: self.also_seen(obj))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None:
            # Of now, also where a conflict is told: who has read that and saves again means it.
            marks = _marks(context["adminform"].form, self.also_seen(obj))
            context["seen"] = json.dumps(marks)
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Locked where it is about to be saved: of two, the second compares with what the first saved."""
        obj = super().get_object(request, object_id, from_field)
        if obj is None or obj._state.adding or request.method != "POST" or not connection.in_atomic_block:
            return obj
        return self.model._default_manager.select_for_update(of=("self",)).filter(pk=obj.pk).first()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return self._changeform(request, *args, **kwargs)
        except (IntegrityError, ValidationError):
            # Somebody else saved just now what rules this out. The form's own checks see that, and say so.
            return self._changeform(request, *args, **kwargs)

    def _changeform(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        return response


def _checked(form: Any, seen: Mapping[str, Any], also: Callable[[], dict[str, object]]) -> Any:
    class CheckedForm(form):  # type: ignore[misc]
        def clean(self) -> dict[str, Any] | None:
            cleaned: dict[str, Any] | None = super().clean()
            more = also()
            marks = _marks(self, more)
            changed = [name for name, mark in marks.items() if seen.get(name, mark) != mark]
            if changed:
                raise ValidationError(_conflict(self, changed, more))
            return cleaned

    return CheckedForm


def _conflict(form: Any, changed: list[str], more: Mapping[str, object]) -> str:
    target = form.instance
    last = AuditEvent.objects.filter(target_type=target._meta.model_name, target_id=str(target.pk)).first()
    who = "Somebody else" if last is None else last.actor_name or "The command line"
    when = "" if last is None else f" at {timezone.localtime(last.created_at):%H:%M:%S}"
    facts = ", ".join(_fact(form, name, more) for name in changed)
    return (
        f"{who} has changed this{when}, since you opened it. It has now: {facts}. Nothing of yours was saved. Open the "
        "page anew to begin with that, or save again to put what stands below in its place."
    )


def _fact(form: Any, name: str, more: Mapping[str, object]) -> str:
    if name in more:
        return f"{name} {more[name]}"
    value = form.initial.get(name)
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"{form.fields[name].label or name} “{shown[:100]}”"


def _marks(form: Any, more: Mapping[str, object]) -> dict[str, str]:
    own = {
        name: field.prepare_value(form.initial.get(name))
        for name, field in form.fields.items()
        if not field.disabled and name in form.initial
    }
    return {name: _mark(value) for name, value in {**own, **more}.items()}


def _mark(value: object) -> str:
    text = str(sorted(map(str, value)) if isinstance(value, list | tuple) else value)
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _seen_in(request: HttpRequest) -> dict[str, Any] | None:
    """None where the request does not come from such a page."""
    try:
        seen = json.loads(request.POST.get(SEEN, ""))
    except ValueError:
        return None
    return seen if isinstance(seen, dict) else None
