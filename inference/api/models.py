"""Models: listed, inspected, added, named, removed, downloaded."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import Given, View
from accounts.api.schema import ID_PARAMETER, PAGED, in_query, operation, page_of
from accounts.permissions import Action
from inference import library
from inference.catalogue import listed, listed_model, shown_download
from inference.downloads import AlreadyEnded, NotOfHub, do_cancel_download, do_request_download
from inference.engine.options import OptionError
from inference.hub.client import Hub
from inference.hub.errors import HubError
from inference.inspection import TOKENS, inspect_source
from inference.models import Download, Model
from inference.sources import SourceError

PATIENCE_SECONDS = 10.0
"""For a hub to say what there is, once more after a fault: somebody waits for the answer."""
OF_THE_HUB = {"offline", "unreachable", "busy", "broken", "no_room"}
"""Codes of what is not the fault of who asks."""


class HubTrouble(APIException):  # type: ignore[misc]  # has no types; so the others
    status_code = 503


class InUse(APIException):  # type: ignore[misc]
    status_code = 409


class DownloadShown(serializers.Serializer):  # type: ignore[misc]
    id = serializers.IntegerField()
    model = serializers.CharField()
    revision = serializers.CharField(help_text="As asked for; empty: the main branch.")
    commit = serializers.CharField(help_text="Empty until the hub has said it.")
    state = serializers.ChoiceField(Download.State.choices)
    bytes_done = serializers.IntegerField()
    bytes_total = serializers.IntegerField(help_text="0 until it has begun.")
    files_done = serializers.IntegerField()
    files_total = serializers.IntegerField()
    bytes_per_second = serializers.IntegerField()
    error = serializers.CharField(help_text="Why it failed, and what to do.")
    error_code = serializers.CharField()
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ModelShown(serializers.Serializer):  # type: ignore[misc]
    id = serializers.IntegerField(allow_null=True, help_text="null: it is here, and nobody has added it.")
    name = serializers.CharField()
    origin = serializers.CharField(help_text="`built in`, `folder` or `hub`.")
    source = serializers.CharField()
    state = serializers.CharField(
        help_text="`here`, `missing`, `not downloaded`, `waiting`, `downloading`, `failed`, `cancelled` or `unknown`."
    )
    kind = serializers.CharField(help_text="Empty until it is known.")
    size = serializers.IntegerField(help_text="Bytes on the disk.")
    revision = serializers.CharField()
    commit = serializers.CharField(help_text="What is downloaded.")
    aliases = serializers.ListField(child=serializers.CharField())
    served = serializers.ListField(child=serializers.CharField(), help_text="On which hosts.")
    download = DownloadShown(allow_null=True, help_text="The newest.")


class ModelsShown(serializers.Serializer):  # type: ignore[misc]
    results = ModelShown(many=True)


class FitShown(serializers.Serializer):  # type: ignore[misc]
    memory = serializers.IntegerField(help_text="Bytes for models on this machine; so the others.")
    weights = serializers.IntegerField()
    reserve = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="For running requests.")
    prefix_cache = serializers.IntegerField()
    sequence = serializers.IntegerField(allow_null=True, help_text="Of one request of `tokens`.")
    tokens = serializers.IntegerField()
    sequences = serializers.IntegerField(allow_null=True, help_text="Such requests that run at once.")
    longest = serializers.IntegerField(allow_null=True, help_text="Tokens of one request alone.")


class InspectionShown(serializers.Serializer):  # type: ignore[misc]
    name = serializers.CharField()
    source = serializers.CharField()
    revision = serializers.CharField()
    commit = serializers.CharField()
    size = serializers.IntegerField()
    weights_bytes = serializers.IntegerField()
    licence = serializers.CharField()
    is_gated = serializers.BooleanField()
    is_here = serializers.BooleanField()
    kind = serializers.CharField()
    model_type = serializers.CharField()
    architecture = serializers.CharField()
    context_length = serializers.IntegerField()
    modalities = serializers.ListField(child=serializers.CharField())
    quantisation = serializers.CharField()
    problems = serializers.ListField(child=serializers.CharField(), help_text="Why it can't be served anywhere.")
    too_large = serializers.CharField(help_text="Why it does not fit here; empty where it does.")
    fit = FitShown(allow_null=True)


class Named(Given):
    source = serializers.CharField(max_length=300, help_text="A Hugging Face id, a folder of the server, or a name.")
    revision = serializers.CharField(max_length=200, default="", allow_blank=True)


class Inspected(Named):
    tokens = serializers.IntegerField(min_value=1, max_value=100_000_000, default=TOKENS)


class Change(Given):
    aliases = serializers.ListField(child=serializers.CharField(max_length=200), max_length=32, required=False)
    revision = serializers.CharField(max_length=200, required=False, allow_blank=True)


class Wish(Given):
    revision = serializers.CharField(max_length=200, default="", allow_blank=True)
    retries = serializers.IntegerField(min_value=0, max_value=1000, default=None, allow_null=True)
    timeout = serializers.FloatField(min_value=0.1, max_value=86_400, default=None, allow_null=True)
    force = serializers.BooleanField(default=False, help_text="Although it could not be served here.")


class ModelView(View):
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.need(Action.MODELS)

    def model(self, id: str) -> Model:
        found = Model.objects.prefetch_related("deployments", "downloads").filter(pk=id).first()
        if found is None:
            raise NotFound("There is no such model.")
        return found

    def shown(self, id: str | int) -> dict[str, Any]:
        return dict(ModelShown(listed_model(self.model(str(id))).shown()).data)


class Models(ModelView):
    @operation("listModels", gives=ModelsShown)
    def get(self, request: Request) -> Response:
        """All that are known, built in, or in the cache; by name."""
        return Response({"results": ModelShown([each.shown() for each in listed()], many=True).data})

    @operation("addModel", takes=Named, gives=ModelShown, status=201)
    def post(self, request: Request) -> Response:
        """Makes one known; nothing is fetched. One that is known stays as it is, but for a revision that is named."""
        given = self.given(Named)
        try:
            source, _ = library.named(given["source"], given["revision"])
            added = library.do_add_model(source, acting_user=self.user)
        except SourceError as error:
            raise ValidationError({"source": [str(error)]}) from error
        return Response(self.shown(added.pk), status=status.HTTP_201_CREATED)


class InspectModel(ModelView):
    @operation("inspectModel", takes=Inspected, gives=InspectionShown)
    def post(self, request: Request) -> Response:
        """What it is, how large, and whether it fits, before it is downloaded. Some small files of it are read."""
        given = self.given(Inspected)
        try:
            source, known = library.named(given["source"], given["revision"])
            with Hub(timeout=PATIENCE_SECONDS, retries=1, offline=settings.OFFLINE) as hub:
                found = inspect_source(
                    source, hub, tokens=given["tokens"], options=known.engine_options if known else {},
                    commit=known.commit if known else "",
                )  # fmt: skip
        except (SourceError, OptionError) as error:
            raise ValidationError({"source": [str(error)]}) from error
        except HubError as error:
            if error.code in OF_THE_HUB:
                raise HubTrouble(str(error)) from error
            raise ValidationError({"source": [str(error)]}) from error
        return Response(InspectionShown(found.stored()).data)


@extend_schema(parameters=[ID_PARAMETER])
class ModelDetail(ModelView):
    @operation("getModel", gives=ModelShown)
    def get(self, request: Request, id: str) -> Response:
        """One of those that are known."""
        return Response(self.shown(id))

    @operation("changeModel", takes=Change, gives=ModelShown)
    def patch(self, request: Request, id: str) -> Response:
        """Its other names, all of them; the revision that the next download gets."""
        library.do_change_model(self.model(id), acting_user=self.user, **self.given(Change))
        return Response(self.shown(id))

    @operation(
        "removeModel", status=204, query=[in_query("files", "`true`: what was downloaded of it is deleted as well.")]
    )
    def delete(self, request: Request, id: str) -> Response:
        """It is not known any more. A 409 while it is served or downloaded."""
        wanted = self.query("files")
        if wanted not in (None, "true", "false"):
            raise ValidationError({"files": ["true or false."]})
        try:
            library.do_remove_model(self.model(id), acting_user=self.user, with_files=wanted == "true")
        except library.InUse as error:
            raise InUse(str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(parameters=[ID_PARAMETER])
class DownloadModel(ModelView):
    @operation("downloadModel", takes=Wish, gives=DownloadShown, status=202)
    def post(self, request: Request, id: str) -> Response:
        """The worker takes it up within seconds, and goes on where it was left. The one that runs, where one does."""
        try:
            download = do_request_download(self.model(id), acting_user=self.user, **self.given(Wish))
        except NotOfHub:
            raise ValidationError({"detail": ["It is here already: it is of no hub."]}) from None
        except SourceError as error:
            raise ValidationError({"revision": [str(error)]}) from error
        return Response(DownloadShown(shown_download(download)).data, status=status.HTTP_202_ACCEPTED)


class Downloads(ModelView):
    @operation("listDownloads", gives=page_of(DownloadShown), query=PAGED)
    def get(self, request: Request) -> Response:
        """All that ever were."""
        rows = Download.objects.select_related("model")
        return self.page(rows, lambda download: DownloadShown(shown_download(download)).data)


class OneDownload(ModelView):
    def download(self, id: str) -> Download:
        found = Download.objects.select_related("model").filter(pk=id).first()
        if found is None:
            raise NotFound("There is no such download.")
        return found


@extend_schema(parameters=[ID_PARAMETER])
class DownloadDetail(OneDownload):
    @operation("getDownload", gives=DownloadShown)
    def get(self, request: Request, id: str) -> Response:
        """How far it is, or how it ended."""
        return Response(DownloadShown(shown_download(self.download(id))).data)


@extend_schema(parameters=[ID_PARAMETER])
class CancelDownload(OneDownload):
    @operation("cancelDownload", gives=DownloadShown)
    def post(self, request: Request, id: str) -> Response:
        """What was fetched is kept for the next time. A 409 when it has ended."""
        try:
            cancelled = do_cancel_download(self.download(id), acting_user=self.user)
        except AlreadyEnded:
            raise InUse("It has ended already.") from None
        return Response(DownloadShown(shown_download(cancelled)).data)
