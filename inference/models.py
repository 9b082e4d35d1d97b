"""What should be served and what is: Model and Deployment are wishes, Engine is what a supervisor observed."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User

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
        TRANSCRIPTION = "transcription"
        SPEECH = "speech"

    name = models.CharField(max_length=200, unique=True, help_text="What requests call it.")
    source = models.CharField(
        max_length=1000, unique=True, help_text="A folder, a Hugging Face id, or builtin:NAME for one that we ship."
    )
    aliases = models.JSONField(default=list, blank=True, help_text="Other names for it.")
    kind = models.CharField(
        max_length=16, choices=Kind, blank=True, help_text="What it is for; empty: as its files tell its engine."
    )
    revision = models.CharField(
        max_length=200, blank=True, help_text="Of a hub's: branch, tag or commit to get; empty: its main branch."
    )
    commit = models.CharField(max_length=40, blank=True, editable=False)
    """Of a hub's: what is downloaded, whole and compared with its hashes; empty: nothing."""
    facts = models.JSONField(default=dict, blank=True, editable=False)
    """What was found when it was inspected last: see `inference.inspection`."""
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


class DownloadQuerySet(models.QuerySet["Download"]):
    def unfinished(self) -> "DownloadQuerySet":
        return self.filter(state__in=Download.UNFINISHED)

    def due(self) -> "DownloadQuerySet":
        """Those that a worker may take up now, the oldest first."""
        free = Q(leased_until=None) | Q(leased_until__lte=timezone.now())
        return self.unfinished().filter(free).order_by("pk")


class Download(models.Model):
    """The job of getting a model from a hub. `inference.downloads` has the verbs."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = (State.WAITING, State.RUNNING)

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="downloads")
    revision = models.CharField(max_length=200, blank=True)
    """As asked for; empty: the main branch."""
    commit = models.CharField(max_length=40, blank=True)
    """What that was when it began."""
    asked_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    """None: the command line."""
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    error = models.TextField(blank=True)
    """Why it failed, and what to do."""
    error_code = models.CharField(max_length=20, blank=True)
    bytes_total = models.PositiveBigIntegerField(default=0)
    bytes_done = models.PositiveBigIntegerField(default=0)
    files_total = models.PositiveIntegerField(default=0)
    files_done = models.PositiveIntegerField(default=0)
    rate = models.PositiveBigIntegerField(default=0)
    """Bytes a second over the network, lately."""
    verified = models.JSONField(default=list, editable=False)
    """Hashes of files that were compared with their content: whoever goes on need not read them again."""
    retries = models.PositiveIntegerField(null=True)
    """None, as of the next: as the settings say."""
    timeout = models.FloatField(null=True)
    force = models.BooleanField(default=False)
    """Although it could not be served here."""
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    lease = models.CharField(max_length=32, blank=True, editable=False)
    """Which process has it."""
    leased_until = models.DateTimeField(null=True, editable=False)

    objects = models.Manager.from_queryset(DownloadQuerySet)()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["model"], condition=Q(state__in=["waiting", "running"]), name="one_unfinished_download"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "running"], ended_at__isnull=True)
                | Q(state__in=["done", "failed", "cancelled"], ended_at__isnull=False),
                name="download_state_agrees",
            ),
            models.CheckConstraint(condition=Q(bytes_done__lte=F("bytes_total")), name="download_bytes_within_total"),
        ]

    def __str__(self) -> str:
        return f"download of {self.model}"

    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {
            "model": self.model.name,
            "revision": self.revision or "main",
            "commit": self.commit,
            "state": self.state,
            "bytes": self.bytes_done,
            **({"error": self.error} if self.error else {}),
        }


class SharedPrefix(models.Model):
    """How prompts begin that are no secret between teams: what the prefix cache has of this text serves everybody whose
    prompt begins with it. What follows stays each team's own."""

    LONGEST = 200_000
    SHORTEST = 64
    MOST = 32
    """Of one model."""

    name = models.CharField(max_length=100, help_text="What it is called here.")
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="shared_prefixes")
    text = models.TextField(
        help_text="The system prompt, or how all of them begin, exactly as it is sent. Whoever may use the model can "
        "find out that somebody has sent it lately, and nothing of what follows it."
    )
    is_pinned = models.BooleanField(
        default=False, help_text="What the cache has of it stays, however seldom it is used."
    )
    digest = models.CharField(max_length=64, editable=False)
    """Of the text: databases have limits on what they index."""
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["model", "name", "pk"]
        verbose_name_plural = "shared prefixes"
        constraints = [models.UniqueConstraint(fields=["model", "digest"], name="shared_prefix_once")]

    def __str__(self) -> str:
        return f"{self.name} of {self.model}"

    def clean(self) -> None:
        if not self.name.isprintable():
            raise ValidationError({"name": "Write one line, without control characters."})
        # As programs send it, not as browsers do.
        self.text = self.text.replace("\r\n", "\n").rstrip("\n")
        if "\0" in self.text:
            raise ValidationError({"text": "It has a null character, which no prompt has."})
        if not self.SHORTEST <= len(self.text) <= self.LONGEST:
            raise ValidationError(
                {"text": f"Give {self.SHORTEST} to {self.LONGEST:,} characters; shorter ones save nothing."}
            )
        self.digest = sha256(self.text.encode()).hexdigest()
        others = SharedPrefix.objects.filter(model_id=self.model_id).exclude(pk=self.pk)
        if others.filter(digest=self.digest).exists():
            raise ValidationError({"text": "This model shares that text already."})
        if others.count() >= self.MOST:
            raise ValidationError(f"A model can share up to {self.MOST} prefixes; remove one first.")

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it: not what prompts say."""
        return {
            "name": self.name,
            "model": self.model.name,
            "characters": len(self.text),
            "sha256": self.digest,
            "is_pinned": self.is_pinned,
        }


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
    modalities = models.JSONField(default=list, blank=True)
    """What its prompts may be made of, as it said then: "text", "image", "video", "audio"."""
    batching = models.CharField(max_length=16, choices=Batching, blank=True)
    """How it runs its requests, as it said when it was ready last; empty until then."""
    batching_reason = models.TextField(blank=True)
    """Why it is not batched."""
    restarts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    changed_at = models.DateTimeField(auto_now=True)
    heartbeat: "Heartbeat | None" = None
    """Not stored: whoever shows an engine fills it in, see `inference.admin.engines`."""

    class Meta:
        ordering = ["deployment"]

    def __str__(self) -> str:
        return f"{self.deployment} ({self.state})"
