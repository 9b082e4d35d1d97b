"""What the views share: who may come in, bodies, pages, errors."""

import io
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.core.exceptions import ValidationError as Invalid
from django.db import IntegrityError, models
from django.http import Http404
from rest_framework import serializers
from rest_framework.exceptions import APIException, NotFound, ParseError, PermissionDenied, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from accounts.api.authentication import KeyAuthentication, PersonAuthentication
from accounts.models import Team, User
from accounts.permissions import Action, may, teams_where

MOST_BYTES = 64 * 1024
"""Of a body."""
SLUG = r"[-\w]{1,100}"
USERNAME = r"[\w.@+-]{1,150}"
ID = r"[0-9]{1,18}"
"""As they stand in paths."""


class Body(JSONParser):  # type: ignore[misc]  # has no types; so the others
    """JSON, of a size and a depth that make sense here."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ParseError(f"The body is larger than {MOST_BYTES // 1024} KiB.")
        try:
            given = super().parse(io.BytesIO(content), media_type, parser_context)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        if not isinstance(given, dict):
            raise ParseError("The body has to be a JSON object.")
        return given


class Given(serializers.Serializer):  # type: ignore[misc]
    """Reads a body. Fields that it does not know are refused: a typo must not pass for a wish that was heard."""

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(data) - set(self.fields)):
            raise ValidationError({name[:60]: [f"There is no such field; there are {', '.join(self.fields)}."]
                                   for name in unknown[:8]})  # fmt: skip
        found: dict[str, Any] = super().to_internal_value(data)
        return found


class Pages(CursorPagination):  # type: ignore[misc]
    """Newest first, by keyset: however far one turns, a page costs the same."""

    ordering = "-pk"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        found = super().decode_cursor(request)
        if found is not None and found.position is not None:
            # The client's own word: it goes into a query.
            position = found.position
            if not (position.isascii() and position.isdigit() and len(position) <= 18):
                raise NotFound(self.invalid_cursor_message)
        return found


class View(APIView):  # type: ignore[misc]
    authentication_classes = [KeyAuthentication, PersonAuthentication]
    permission_classes = [IsAuthenticated]
    renderer_classes = [JSONRenderer]
    parser_classes = [Body]
    metadata_class = None

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return answered

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        # Keys, names, figures: nothing for a cache.
        final["Cache-Control"] = "no-store"
        return final

    @property
    def user(self) -> User:
        found: User = self.request.user
        return found

    def given(self, serializer: type[serializers.Serializer], **options: Any) -> dict[str, Any]:
        """The body, read. Raises ValidationError with the names of fields."""
        read = serializer(data=self.request.data, **options)
        read.is_valid(raise_exception=True)
        found: dict[str, Any] = read.validated_data
        return found

    def query(self, name: str) -> str | None:
        """A parameter of the query. None: it is not there. Raises ValidationError for what no database has."""
        found: str | None = self.request.query_params.get(name)
        if found is not None and not (found.isprintable() and len(found) <= 200):
            raise ValidationError({name: ["Up to 200 printable characters."]})
        return found

    def page(self, rows: models.QuerySet[Any], shown: Callable[[Any], Any]) -> Response:
        pages = Pages()
        found = pages.paginate_queryset(rows.order_by("-pk"), self.request, view=self)
        answer: Response = pages.get_paginated_response([shown(row) for row in found])
        return answer

    def need(self, action: Action, team: Team | None = None) -> None:
        """Raises PermissionDenied. For those who may know that there is such a thing."""
        if not may(self.user, action, team):
            raise PermissionDenied(f"You may not do this: it needs `{action}` (docs/permissions.md).")

    def team(self, slug: str, action: Action = Action.SEE_TEAM) -> Team:
        """Raises NotFound, the same for one that there is not and for one that one may not know; PermissionDenied for
        one of one's own in which one may not do that. At most three queries."""
        found = teams_where(self.user, Action.SEE_TEAM).filter(slug=slug).first()
        if found is None:
            raise NotFound("There is no such team, or you are not in it.")
        if action != Action.SEE_TEAM:
            self.need(action, found)
        return found


class Nothing(View):
    """Any other path."""

    schema = None

    def handle(self, request: Request) -> Response:
        raise NotFound("There is nothing at this path; /openapi.json lists what there is. Mind the slash at the end.")

    get = post = put = patch = delete = handle


class Conflict(APIException):  # type: ignore[misc]
    status_code = 409
    default_detail = "Somebody else has just changed the same; look at it and try again."


def answered(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an error: by field what is wrong with it, or `detail`."""
    match error:
        case Invalid():
            return exception_handler(ValidationError(said(error)), context)
        case ObjectDoesNotExist() | Http404():
            # It went while we looked.
            return exception_handler(NotFound("There is no such thing any more."), context)
        case IntegrityError():
            return exception_handler(Conflict(), context)
    return exception_handler(error, context)


def said(error: Invalid) -> dict[str, list[str]]:
    """What a verb has refused, by field; `detail` for what no field is to blame for."""
    if not hasattr(error, "error_dict"):
        return {"detail": error.messages}
    return {"detail" if name == "__all__" else name: texts for name, texts in error.message_dict.items()}
