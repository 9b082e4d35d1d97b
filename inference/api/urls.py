"""Paths under /api/."""

from django.urls import re_path

from accounts.api.base import ID
from inference.api import models

urlpatterns = [
    re_path(r"^models/\Z", models.Models.as_view()),
    re_path(r"^models/inspect\Z", models.InspectModel.as_view()),
    re_path(rf"^models/(?P<id>{ID})\Z", models.ModelDetail.as_view()),
    re_path(rf"^models/(?P<id>{ID})/download\Z", models.DownloadModel.as_view()),
    re_path(r"^downloads/\Z", models.Downloads.as_view()),
    re_path(rf"^downloads/(?P<id>{ID})\Z", models.DownloadDetail.as_view()),
    re_path(rf"^downloads/(?P<id>{ID})/cancel\Z", models.CancelDownload.as_view()),
]
