"""The nouns. Who changes them goes through `accounts.services` and `accounts.ledger`, where the verbs are."""

from accounts.models.api_key import ApiKey, Scope
from accounts.models.audit_event import AuditEvent
from accounts.models.batch import Batch, BatchLine
from accounts.models.invitation import Invitation
from accounts.models.notice import Announcement, Maintenance
from accounts.models.people import Membership, Team, User
from accounts.models.price import Price
from accounts.models.quota import Quota, QuotaBoost
from accounts.models.stored_file import FileChunk, StoredFile
from accounts.models.stored_response import StoredResponse
from accounts.models.usage_daily import Rollups, UsageDaily
from accounts.models.usage_record import UsageRecord

__all__ = [
    "Announcement", "ApiKey", "AuditEvent", "Batch", "BatchLine", "FileChunk", "Invitation", "Maintenance",
    "Membership", "Price", "Quota", "QuotaBoost", "Rollups", "Scope", "StoredFile", "StoredResponse", "Team",
    "UsageDaily", "UsageRecord", "User",
]  # fmt: skip
