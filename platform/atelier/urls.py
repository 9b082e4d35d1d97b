"""Django's own URLs; `/v1` and `/health` belong to the gateway (see asgi.py)."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from gateway.schema.views import Document, RedocPage, SwaggerPage

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Before the admin: its sign-in is everybody's.
    path("", include("accounts.pages.urls")),
    path("admin/", include("console.urls")),
    path("admin/", admin.site.urls),
    # Before the others, which end with whatever there is not.
    path("api/", include("inference.api.urls")),
    path("api/", include("accounts.api.urls")),
    path("openapi.json", Document.as_view(), name="schema"),
    path("docs/api/", SwaggerPage.as_view(), name="swagger"),
    path("docs/redoc/", RedocPage.as_view(), name="redoc"),
]

handler429 = "accounts.signing_in.refusals.too_many_requests"
