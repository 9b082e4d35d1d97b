"""The management API's paths. What stands for a name matches what such names can be, and nothing else."""

from django.urls import re_path

from accounts.api import audit, invitations, keys, people, quotas
from accounts.api.base import ID, SLUG, USERNAME, Nothing

TEAM = rf"^teams/(?P<slug>{SLUG})"

urlpatterns = [
    re_path(r"^me\Z", people.Me.as_view()),
    re_path(r"^teams/\Z", people.Teams.as_view()),
    re_path(rf"{TEAM}/\Z", people.TeamDetail.as_view()),
    re_path(rf"{TEAM}/members/\Z", people.Members.as_view()),
    re_path(rf"{TEAM}/members/(?P<username>{USERNAME})\Z", people.MemberDetail.as_view()),
    re_path(rf"{TEAM}/service-accounts/\Z", people.ServiceAccounts.as_view()),
    re_path(rf"{TEAM}/service-accounts/(?P<username>{USERNAME})\Z", people.ServiceAccountDetail.as_view()),
    re_path(rf"{TEAM}/invitations/\Z", invitations.Invitations.as_view()),
    re_path(rf"{TEAM}/invitations/(?P<id>{ID})\Z", invitations.InvitationDetail.as_view()),
    re_path(r"^keys/\Z", keys.Keys.as_view()),
    re_path(r"^keys/revoke-all\Z", keys.RevokeAllKeys.as_view()),
    re_path(rf"^keys/(?P<id>{ID})/rotate\Z", keys.RotateKey.as_view()),
    re_path(rf"^keys/(?P<id>{ID})/revoke\Z", keys.RevokeKey.as_view()),
    re_path(r"^quotas/\Z", quotas.Quotas.as_view()),
    re_path(r"^quotas/what-if\Z", quotas.WhatIf.as_view()),
    re_path(rf"^quotas/(?P<id>{ID})\Z", quotas.QuotaDetail.as_view()),
    re_path(rf"^quotas/(?P<id>{ID})/boosts\Z", quotas.Boosts.as_view()),
    re_path(r"^audit/\Z", audit.Audit.as_view()),
    re_path(r"", Nothing.as_view()),
]
