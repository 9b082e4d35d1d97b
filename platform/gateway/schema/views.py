"""The document itself, and two pages to read it on. All three are open: what they hold is in the source anyway."""

from typing import Any

from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

# Redoc runs its search in a worker made on the spot, and would load its maker's logo from the web.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'"
)


class Document(SpectacularAPIView):  # type: ignore[misc]  # has no types; so the others
    renderer_classes = [OpenApiJsonRenderer2]


class SwaggerPage(SpectacularSwaggerSplitView):  # type: ignore[misc]
    schema = None
    template_name = "api/swagger.html"
    template_name_js = "api/swagger.js"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return confined(super().get(request, *args, **kwargs))


class RedocPage(SpectacularRedocView):  # type: ignore[misc]
    schema = None
    template_name = "api/redoc.html"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return confined(super().get(request, *args, **kwargs))


def confined(response: Response) -> Response:
    """The page may use this server only."""
    response["content-security-policy"] = POLICY
    return response
