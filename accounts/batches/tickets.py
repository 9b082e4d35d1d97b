"""How a worker asks the gateway in the name of a batch's key, whose text nobody has.

A ticket names the batch and the worker's lease of it, signed with the secret that all processes of an installation
share. It opens the door for a minute, while that lease is held and the batch runs, to the batch's endpoint alone, and
the requests are those of the batch's key: its scopes, models and quotas. Whoever could read the database would still
lack the secret, and who has the secret the lease, which is in no log and on no page.
"""

from dataclasses import dataclass

from django.core import signing
from django.utils import timezone

from accounts.models import Batch

PREFIX = "batch-ticket:"
"""What no API key begins with."""
LIFETIME_SECONDS = 60
"""From its issue to a request's arrival."""
LONGEST = 256

_signer = signing.TimestampSigner(salt="accounts.batches.tickets")


@dataclass(frozen=True, slots=True)
class Holder:
    digest: str
    """Of the key that the batch was made with."""
    endpoint: str
    """The only path that the ticket is for."""


def issue(batch: Batch) -> str:
    """For one request; `batch` has the lease."""
    return PREFIX + _signer.sign(f"{batch.batch_id}/{batch.lease}")


def is_ticket(text: str) -> bool:
    return text.startswith(PREFIX)


def holder_of(ticket: str) -> Holder | None:
    """None: forged, too old, or of a batch that is not being worked on under that lease. At most one query."""
    if len(ticket) > LONGEST:
        return None
    try:
        named = _signer.unsign(ticket.removeprefix(PREFIX), max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return None
    batch_id, _, lease = named.partition("/")
    running = Batch.objects.filter(
        batch_id=batch_id, lease=lease, leased_until__gt=timezone.now(), status=Batch.Status.IN_PROGRESS
    ).exclude(lease="")
    found = running.values_list("key__digest", "endpoint").first()
    return None if found is None or found[0] is None else Holder(*found)
