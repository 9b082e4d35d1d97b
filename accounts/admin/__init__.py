"""The admin's pages for people, keys, usage and the audit log. Every change goes through `accounts.services`."""

from accounts.admin.batches import BatchAdmin, StoredFileAdmin
from accounts.admin.invitations import InvitationAdmin
from accounts.admin.keys import ApiKeyAdmin
from accounts.admin.notices import AnnouncementAdmin, MaintenanceAdmin
from accounts.admin.people import TeamAdmin, UserAdmin
from accounts.admin.prices import PriceAdmin
from accounts.admin.quotas import QuotaAdmin
from accounts.admin.records import AuditEventAdmin, UsageRecordAdmin
from accounts.admin.usage import UsageAdmin

__all__ = [
    "AnnouncementAdmin", "ApiKeyAdmin", "AuditEventAdmin", "BatchAdmin", "InvitationAdmin", "MaintenanceAdmin",
    "PriceAdmin", "QuotaAdmin", "StoredFileAdmin", "TeamAdmin", "UsageAdmin", "UsageRecordAdmin", "UserAdmin",
]  # fmt: skip
