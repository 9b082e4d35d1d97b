"""Changes of what should be served, and of what is known to be."""

import hashlib
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.events import publish_on_commit
from accounts.models import User
from inference.engine.options import EngineOptions, changed
from inference.models import Deployment, Engine, Model, SharedPrefix
from inference.sources import Source

ENGINES_CHANGED = "engines.changed"


@transaction.atomic
def do_deploy_models(sources: list[Source], *, host: str) -> list[Deployment]:
    """Makes these the models that `host` serves, in this order, and no others. Raises ValueError for two different
    models of one name, and for one that is to be of two kinds."""
    names: dict[str, Source] = {}
    for source in sources:
        known = names.setdefault(source.name, source)
        if known.source != source.source:
            raise ValueError(
                f"{source.source} and {known.source} would both be called {source.name}. Rename one folder."
            )
        if known.kind != source.kind:
            raise ValueError(f"{source.name} is named twice, for different purposes. Name it once.")
    models = [_model_for(source) for source in sources]
    Deployment.objects.filter(host=host).exclude(model__in=models).delete()
    deployments = [
        Deployment.objects.update_or_create(model=model, host=host, defaults={"position": position})[0]
        for position, model in enumerate(models)
    ]
    publish_on_commit(ENGINES_CHANGED)
    return deployments


@transaction.atomic
def do_forget_deployments() -> None:
    """Nothing is to be served any more, on any host, until somebody says it anew. Models stay as they are."""
    Deployment.objects.all().delete()
    publish_on_commit(ENGINES_CHANGED)


def _model_for(source: Source) -> Model:
    """The model of this source; one of the same name from elsewhere, a folder that has moved, is taken over."""
    known = Model.objects.filter(source=source.source).first() or Model.objects.filter(name=source.name).first()
    model = known or Model(name=source.name)
    model.source = source.source
    model.kind = source.kind
    if source.revision and source.revision != model.revision:
        # Another one than is here, as far as anybody knows.
        model.revision, model.commit = source.revision, ""
    model.aliases = list(dict.fromkeys([*model.aliases, *source.aliases]))
    model.save()
    return model


@transaction.atomic
def do_set_engine_options(model: Model, options: EngineOptions) -> dict[str, Any]:
    """Makes these the options of the model's engines, from their next start on; all it had before are gone, and
    returned. A running engine goes on as it is: a restart would cost its requests."""
    before: dict[str, Any] = model.engine_options
    model.engine_options = changed(options)
    model.save(update_fields=["engine_options"])
    publish_on_commit(ENGINES_CHANGED)
    return before


@transaction.atomic
def do_share_prefix(
    model: Model, text: str, *, name: str, acting_user: User | None, is_pinned: bool = False
) -> SharedPrefix:
    """Makes what the prefix cache has of this beginning of prompts everybody's, from the next request on."""
    prefix = SharedPrefix(model=model, text=text, name=name, is_pinned=is_pinned)
    prefix.full_clean()
    prefix.save()
    audit.record("shared_prefix.added", prefix, acting_user=acting_user, after=prefix.facts())
    publish_on_commit(ENGINES_CHANGED)
    return prefix


@transaction.atomic
def do_change_shared_prefix(prefix: SharedPrefix, *, acting_user: User | None, **changes: Any) -> None:
    stored = SharedPrefix.objects.select_for_update(of=("self",)).select_related("model").get(pk=prefix.pk)
    before = stored.facts()
    for field, value in changes.items():
        setattr(stored, field, value)
    stored.full_clean()
    stored.save()
    if stored.facts() != before:
        audit.record("shared_prefix.changed", stored, acting_user=acting_user, before=before, after=stored.facts())
        publish_on_commit(ENGINES_CHANGED)


@transaction.atomic
def do_delete_shared_prefix(prefix: SharedPrefix, *, acting_user: User | None) -> None:
    """Requests from the next one on share nothing of it with other teams any more."""
    audit.record("shared_prefix.deleted", prefix, acting_user=acting_user, before=prefix.facts())
    prefix.delete()
    publish_on_commit(ENGINES_CHANGED)


def do_record_engine(deployment: Deployment, **observed: Any) -> None:
    """Writes what the supervisor saw of a deployment's engine, and tells the gateways."""
    with transaction.atomic():
        Engine.objects.update_or_create(
            deployment=deployment, defaults={"endpoint": endpoint_of(deployment), **observed}
        )
        publish_on_commit(ENGINES_CHANGED)


def endpoint_of(deployment: Deployment) -> str:
    """The ZeroMQ endpoint of a deployment's engine; short, for a socket's path has little room."""
    name = hashlib.sha256(f"{deployment.host}:{deployment.model.source}".encode()).hexdigest()[:12]
    return f"ipc://{settings.SOCKET_DIR}/{name}"
