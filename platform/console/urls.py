"""Pages below /admin/ that belong to no model. Nobody sees them who is not signed in and may see the admin."""

from django.contrib import admin
from django.urls import path

from console import dashboard, requests

urlpatterns = [
    path("dashboard/", admin.site.admin_view(dashboard.part), name="console-dashboard"),
    path("requests/", admin.site.admin_view(requests.page), name="console-requests"),
    path("requests/rows/", admin.site.admin_view(requests.rows), name="console-request-rows"),
    path("requests/cancel/", admin.site.admin_view(requests.cancel), name="console-cancel"),
]
