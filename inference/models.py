"""What should be served and what is: Model and Deployment are wishes, Engine is what a supervisor observed."""

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from inference.client import Heartbeat


class Model(models.Model):
    """A model that this installation knows.

    `engine_options` stand here and not in Deployment, which is gone as soon as another model is served: whoever comes
    back to a model finds it as it was. `inference.engine.options` has the table, and checks them when they are used.
    """

    class Kind(models.TextChoices):
        TEXT = "text"
        VISION = "vision"
        EMBEDDING = "embedding"
        RERANKER = "reranker"

    name = models.CharField(max_length=200, unique=True, help_text="What requests call it.")
    source = models.CharField(
        max_length=1000, unique=True, help_text="A folder, a Hugging Face id, or builtin:NAME for one that we ship."
    )
    aliases = models.JSONField(default=list, blank=True, help_text="Other names for it.")
    kind = models.CharField(
        max_length=16, choices=Kind, blank=True, help_text="What it is for; empty: as its files tell its engine."
    )
    engine_options = models.JSONField(
        default=dict,
        blank=True,
        help_text="Options of its engines that differ from the defaults: what `serve` was given for it last.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Deployment(models.Model):
    """A wish: this model is to be loaded on this host."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="deployments")
    host = models.CharField(max_length=255)
    position = models.PositiveIntegerField(default=0, help_text="The first one is what `default` names.")

    class Meta:
        ordering = ["position", "pk"]
        constraints = [models.UniqueConstraint(fields=["model", "host"], name="one_deployment_per_model_and_host")]

    def __str__(self) -> str:
        return f"{self.model} on {self.host}"


class Engine(models.Model):
    """The engine process of a deployment, as its supervisor last saw it."""

    class State(models.TextChoices):
        STARTING = "starting"
        READY = "ready"
        FAILED = "failed"
        STOPPED = "stopped"

    class Batching(models.TextChoices):
        BATCHED = "batched"
        PADDED = "padded"
        SINGLE = "single"

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="engine")
    endpoint = models.CharField(max_length=255)
    state = models.CharField(max_length=16, choices=State, default=State.STARTING)
    pid = models.PositiveIntegerField(null=True)
    context_length = models.PositiveIntegerField(null=True)
    kind = models.CharField(max_length=16, choices=Model.Kind, blank=True)
    """What its model is for, as it said when it was ready last; empty until then."""
    batching = models.CharField(max_length=16, choices=Batching, blank=True)
    """How it runs its requests, as it said when it was ready last; empty until then."""
    batching_reason = models.TextField(blank=True)
    """Why it is not batched."""
    restarts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    changed_at = models.DateTimeField(auto_now=True)
    heartbeat: "Heartbeat | None" = None
    """Not stored: whoever shows an engine fills it in, see `inference.admin`."""

    class Meta:
        ordering = ["deployment"]

    def __str__(self) -> str:
        return f"{self.deployment} ({self.state})"
