"""What the operations' descriptions share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers

F = TypeVar("F", bound=Callable[..., Any])


def _in_path(name: str, description: str, type: OpenApiTypes = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, type, OpenApiParameter.PATH, description=description)


def in_query(name: str, description: str, type: OpenApiTypes = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, type, OpenApiParameter.QUERY, description=description)


SLUG_PARAMETER = _in_path("slug", "The team's `slug`.")
USER_PARAMETER = _in_path("username", "The user's name.")
ID_PARAMETER = _in_path("id", "As in the list.", OpenApiTypes.INT64)
PAGED = [
    in_query("cursor", "As in the `next` or `previous` of another page."),
    in_query("limit", "Rows in a page: 50, up to 200.", OpenApiTypes.INT),
]


def page_of(shown: type[serializers.Serializer]) -> serializers.Serializer:
    """One page, newest first."""
    name = f"{shown.__name__.removesuffix('Shown')}Page"
    link = serializers.URLField(allow_null=True)
    return inline_serializer(name, {"next": link, "previous": link, "results": shown(many=True)})


class Refusal(serializers.Serializer):  # type: ignore[misc]  # has no types
    detail = serializers.CharField(help_text="What to change.")


REFUSALS: dict[int, Any] = {
    400: OpenApiResponse(OpenApiTypes.OBJECT, "By field, a list of what is wrong with it; `detail` for the whole."),
    401: OpenApiResponse(Refusal, "Neither a session nor a key that works."),
    403: OpenApiResponse(Refusal, "One may not do this; the key lacks the scope `manage`; the CSRF token is missing."),
    404: OpenApiResponse(Refusal, "There is no such thing, or one may not know of it."),
}


def operation(
    name: str, *, gives: Any = None, takes: Any = None, status: int = 200, query: Sequence[OpenApiParameter] = ()
) -> Callable[[F], F]:
    """Describes a view's method. name: the operation's id in generated clients; its docstring is what is shown."""
    described = extend_schema(
        operation_id=name,
        tags=["Management"],
        request=takes,
        responses={status: gives, **REFUSALS},
        parameters=list(query),
    )
    return cast(Callable[[F], F], described)
