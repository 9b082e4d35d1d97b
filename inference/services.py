"""Changes of what should be served, and of what is known to be."""

import hashlib
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.events import publish_on_commit
from inference.engine.options import EngineOptions, changed
from inference.models import Deployment, Engine, Model
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
