"""The registry's verbs: models are added, called by other names, removed. What is served is `inference.services`'s."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.events import publish_on_commit
from accounts.models import User
from inference.hub.cache import Store, is_whole
from inference.models import Model
from inference.services import ENGINES_CHANGED
from inference.sources import BUILTIN_PREFIX, REVISION, Source, builtin_names, check_revision, is_of_hub, parse_source

LONGEST_ALIAS = 200
MOST_ALIASES = 32
RESERVED = "default"
"""Names the first model that is served."""


class InUse(Exception):
    """The message says what uses it."""


@transaction.atomic
def do_add_model(source: Source, *, acting_user: User | None) -> Model:
    """The model of this source; one that is known already stays as it is, but for a revision that is named. Raises
    ValidationError where another is called so."""
    known = Model.objects.select_for_update().filter(source=source.source).first()
    if known is None:
        model = Model(name=source.name, source=source.source, kind=source.kind, revision=source.revision)
        model.aliases = checked_aliases(model, source.aliases)
        model.full_clean()
        adopt(model)
        model.save()
        audit.record("model.added", model, acting_user=acting_user, after=facts(model))
        return model
    if source.revision and source.revision != known.revision:
        do_change_model(known, acting_user=acting_user, revision=source.revision)
        known.refresh_from_db()
    return known


@transaction.atomic
def do_change_model(
    model: Model, *, acting_user: User | None, aliases: Sequence[str] | None = None, revision: str | None = None
) -> Model:
    """aliases: all that it has from now on. revision: what the next download gets; until then what is here is served.
    Raises ValidationError."""
    stored = Model.objects.select_for_update().get(pk=model.pk)
    before = facts(stored)
    if aliases is not None:
        stored.aliases = checked_aliases(stored, aliases)
    if revision is not None:
        if revision and not (is_of_hub(stored.source) and REVISION.fullmatch(revision)):
            raise ValidationError({"revision": "A branch, a tag or a commit, of a model from a hub."})
        stored.revision = revision
    stored.save()
    if facts(stored) != before:
        audit.record("model.changed", stored, acting_user=acting_user, before=before, after=facts(stored))
        publish_on_commit(ENGINES_CHANGED)
    return stored


@transaction.atomic
def do_remove_model(model: Model, *, acting_user: User | None, with_files: bool = False) -> int:
    """It is not known any more. with_files: what was downloaded of it goes as well, and of what is on its way; folders
    stay. Bytes that are free now. Raises InUse."""
    stored = Model.objects.select_for_update().get(pk=model.pk)
    if stored.source.startswith(BUILTIN_PREFIX):
        raise InUse(f"{stored} is built in and takes no room.")
    if deployment := stored.deployments.first():
        raise InUse(f"{stored} is served on {deployment.host}. Serve other models first.")
    if stored.downloads.unfinished().exists():
        raise InUse(f"{stored} is just being downloaded. Cancel that first.")
    with_files = with_files and is_of_hub(stored.source)
    audit.record("model.removed", stored, acting_user=acting_user, before=facts(stored), after={"files": with_files})
    stored.delete()
    publish_on_commit(ENGINES_CHANGED)
    # After the row: files without a row are found again, a row without files is a promise that can't be kept.
    return Store(stored.source).delete() if with_files else 0


def adopt(model: Model) -> bool:
    """Sees whether Hugging Face's cache has it whole, by whomever it was downloaded; whether it is here. To be saved
    by the caller."""
    if is_of_hub(model.source) and not model.commit:
        store = Store(model.source)
        commit = store.commit_of(model.revision)
        if commit and store.is_whole(commit):
            model.commit = commit
    return is_here(model)


def is_here(model: Model) -> bool:
    """Whether it could be loaded on this machine. For a hub's model a few looks at the disk."""
    if not is_of_hub(model.source):
        return True
    return bool(model.commit) and is_whole(Store(model.source).snapshot(model.commit))


def find(name: str) -> Model | None:
    """By its name, an alias or its source."""
    found = Model.objects.filter(name=name).first() or Model.objects.filter(source=name).first()
    return found or next((model for model in Model.objects.all() if name in model.aliases), None)


def source_of(model: Model, revision: str = "") -> Source:
    """As `parse_source` would have it."""
    return Source(model.name, model.source, tuple(model.aliases), model.kind, revision)


def named(name: str, revision: str = "") -> tuple[Source, Model | None]:
    """What a user means, and the model that is known of it already. Raises SourceError."""
    if revision:
        check_revision(revision)
    known = find(name)
    if known is not None:
        return source_of(known, revision), known
    source = parse_source(name)
    known = Model.objects.filter(source=source.source).first()
    return (replace(source, revision=revision) if revision else source), known


def checked_aliases(model: Model, given: Sequence[str]) -> list[str]:
    """Each once. Raises ValidationError for one that is another model's name or alias."""
    aliases = list(dict.fromkeys(given))
    if len(aliases) > MOST_ALIASES:
        raise ValidationError({"aliases": f"A model can have up to {MOST_ALIASES} other names."})
    others = Model.objects.exclude(pk=model.pk)
    taken = {name: other.name for other in others for name in (*other.aliases, other.name)}
    for alias in aliases:
        if not isinstance(alias, str) or not alias.strip() or not alias.isprintable() or len(alias) > LONGEST_ALIAS:
            raise ValidationError({"aliases": f"Each is one line of up to {LONGEST_ALIAS} characters."})
        if alias == RESERVED:
            raise ValidationError({"aliases": "“default” is the first model that is served, always."})
        if alias in taken:
            raise ValidationError({"aliases": f"“{alias}” is what {taken[alias]} is called."})
        if alias in builtin_names() and alias != model.name:
            raise ValidationError({"aliases": f"“{alias}” is a built-in model."})
    return aliases


def facts(model: Model) -> dict[str, Any]:
    """What the audit log says of it."""
    return {
        "source": model.source,
        "aliases": model.aliases,
        **({"revision": model.revision} if model.revision else {}),
        **({"commit": model.commit} if model.commit else {}),
    }
