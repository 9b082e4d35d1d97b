"""The admin's pages for people, keys, usage and the audit log. Every change goes through `accounts.services`."""

from accounts.admin.invitations import InvitationAdmin
from accounts.admin.keys import ApiKeyAdmin
from accounts.admin.notices import AnnouncementAdmin, MaintenanceAdmin
from accounts.admin.people import TeamAdmin, UserAdmin
from accounts.admin.quotas import QuotaAdmin
from accounts.admin.records import AuditEventAdmin, UsageRecordAdmin

__all__ = [
    "AnnouncementAdmin", "ApiKeyAdmin", "AuditEventAdmin", "InvitationAdmin", "MaintenanceAdmin", "QuotaAdmin",
    "TeamAdmin", "UsageRecordAdmin", "UserAdmin",
]  # fmt: skip
