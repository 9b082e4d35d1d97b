"""`/v1/batches` and what is below it."""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import models
from msgspec import Meta, Struct

from accounts.authentication import Principal
from accounts.batches import verbs
from accounts.models import Batch, Scope, User
from gateway import access, errors
from gateway.answers import encode
from gateway.batches.reading import ENDPOINTS
from gateway.body import decode, one_of, without_effect, without_effect_inside
from gateway.context import of
from gateway.endpoint import KeyedEndpoint, refuse_ignored
from gateway.files.upload import LATEST, SOONEST
from gateway.paging import limit_of, page, query_of

LISTED, MOST_LISTED = 20, 100
POSSIBLE = re.compile(r"batch_[0-9a-f]{32}")
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)]


class OutputExpiresAfter(Struct):
    anchor: Literal["created_at"]
    """Of the files that the batch writes."""
    seconds: Annotated[int, Meta(ge=SOONEST, le=LATEST)]


class CreateBatch(Struct, kw_only=True):
    input_file_id: str
    """Of a file with the purpose `batch`."""
    endpoint: Annotated[str, one_of(ENDPOINTS)]
    completion_window: Annotated[str, one_of(verbs.WINDOWS)]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None


read_request = msgspec.json.Decoder(CreateBatch)


class BatchError(Struct, kw_only=True):
    code: str
    message: str
    param: str | None = None
    line: int | None = None
    """Of the input file, from 1 on."""


class BatchErrors(Struct):
    data: list[BatchError]
    object: str = "list"


class RequestCounts(Struct, kw_only=True):
    total: int
    completed: int
    failed: int


class InputDetails(Struct):
    cached_tokens: int


class OutputDetails(Struct):
    reasoning_tokens: int


class BatchUsage(Struct, kw_only=True):
    """Of the answers that there are so far."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class BatchObject(Struct, kw_only=True):
    """Times are Unix seconds; null is what has not happened."""

    id: str
    object: str = "batch"
    endpoint: str
    model: str | None
    """Of all lines; null where they name several."""
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str = "24h"
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: Batch) -> "BatchObject":
        ended = {batch.status: seconds(batch.ended_at)}
        found = [BatchError(**error) for error in batch.errors]
        return cls(
            id=batch.batch_id,
            endpoint=batch.endpoint,
            model=batch.model or None,
            errors=BatchErrors(found) if found else None,
            input_file_id=batch.input_file_id,
            status=batch.status,
            output_file_id=batch.output_file_id or None,
            error_file_id=batch.error_file_id or None,
            created_at=int(batch.created_at.timestamp()),
            in_progress_at=seconds(batch.in_progress_at),
            expires_at=int(batch.expires_at.timestamp()),
            finalizing_at=seconds(batch.finalizing_at),
            completed_at=ended.get(Batch.Status.COMPLETED),
            failed_at=ended.get(Batch.Status.FAILED),
            expired_at=ended.get(Batch.Status.EXPIRED),
            cancelling_at=seconds(batch.cancelling_at),
            cancelled_at=ended.get(Batch.Status.CANCELLED),
            request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
            usage=BatchUsage(
                input_tokens=batch.input_tokens,
                input_tokens_details=InputDetails(batch.cached_tokens),
                output_tokens=batch.output_tokens,
                output_tokens_details=OutputDetails(batch.reasoning_tokens),
                total_tokens=batch.input_tokens + batch.output_tokens,
            ),
            metadata=msgspec.json.decode(batch.metadata) if batch.metadata else None,
        )


class BatchList(Struct, kw_only=True):
    object: str = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Batches(KeyedEndpoint):
    """`GET` and `POST /v1/batches`."""

    methods = ("GET", "HEAD", "POST")
    needs = Scope.BATCH

    async def handle(self, body: bytes) -> None:
        if self.scope["method"] == "POST":
            await self._create(body)
        else:
            await self._list()

    async def _create(self, body: bytes) -> None:
        query_of(self.scope, ())
        request, fields = decode(body, read_request)
        context = of(self.scope)
        context.ignored = [
            *without_effect(fields, CreateBatch.__struct_fields__),
            *without_effect_inside(fields, CreateBatch),
        ]
        refuse_ignored(context)
        if request.endpoint not in ENDPOINTS:
            raise errors.invalid(f"`endpoint` must be one of {', '.join(ENDPOINTS)}.", param="endpoint")
        if request.completion_window not in verbs.WINDOWS:
            windows = ", ".join(verbs.WINDOWS)
            raise errors.invalid(f"`completion_window` must be {windows}.", param="completion_window")
        access.check(self.principal, ENDPOINTS[request.endpoint], self.scope)
        batch = await database_sync_to_async(_create)(self.principal, request)
        await self.answer(encode(BatchObject.of(batch)))

    async def _list(self) -> None:
        query = query_of(self.scope, ("after", "limit"))
        limit = limit_of(query, usual=LISTED, most=MOST_LISTED)

        def look_up() -> tuple[list[Batch], bool]:
            after = _owned(self.principal, query["after"]) if "after" in query else None
            if "after" in query and after is None:
                raise errors.invalid(f"`after`: you have no batch {errors.quote(query['after'])}.", param="after")
            return page(_of(self.principal), after=after, limit=limit)

        found, more = await database_sync_to_async(look_up)()
        data = [BatchObject.of(batch) for batch in found]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        await self.answer(encode(BatchList(data=data, first_id=first, last_id=last, has_more=more)))


class OneBatch(KeyedEndpoint):
    """`GET /v1/batches/{id}`."""

    needs = Scope.BATCH

    async def handle(self, body: bytes) -> None:
        await self.answer(encode(BatchObject.of(await self.batch())))

    async def batch(self) -> Batch:
        """Raises ApiError: the same for one that is not there and for another owner's."""
        query_of(self.scope, ())
        id: str = self.scope["url_route"]["kwargs"]["id"]
        found: Batch | None = await database_sync_to_async(_owned)(self.principal, id)
        if found is None:
            raise errors.batch_not_found(id)
        return found


class CancelBatch(OneBatch):
    """`POST /v1/batches/{id}/cancel`."""

    methods = ("POST",)

    async def handle(self, body: bytes) -> None:
        batch = await self.batch()
        try:
            cancelled = await database_sync_to_async(_cancel)(batch, self.principal)
        except verbs.AlreadyEnded:
            batch = await self.batch()
            raise errors.batch_ended(batch.status) from None
        await self.answer(encode(BatchObject.of(cancelled)))


def _create(principal: Principal, request: CreateBatch) -> Batch:
    after = request.output_expires_after
    try:
        if "\0" in request.input_file_id:
            # PostgreSQL has no text with it.
            raise verbs.FileNotFound
        return verbs.do_create_batch(
            principal,
            endpoint=request.endpoint,
            input_file_id=request.input_file_id,
            window=request.completion_window,
            metadata=encode(request.metadata).decode() if request.metadata else "",
            output_seconds=after.seconds if after else None,
        )
    except verbs.FileNotFound:
        raise errors.file_not_found(request.input_file_id) from None
    except verbs.WrongPurpose:
        raise errors.invalid(
            "`input_file_id`: that file has another purpose; upload it with the purpose `batch`.",
            param="input_file_id",
        ) from None
    except verbs.TooManyBatches:
        raise errors.invalid(
            f"You have {settings.BATCHES_PER_USER} batches that have not ended, as many as this server allows "
            "(ATELIER_BATCHES_PER_USER); wait for one, or cancel one.",
            code="too_many_batches",
        ) from None


def _cancel(batch: Batch, principal: Principal) -> Batch:
    return verbs.do_cancel_batch(batch, acting_user=User.objects.get(pk=principal.user_id))


def _owned(principal: Principal, id: str) -> Batch | None:
    # What can't be an id need not be asked for; PostgreSQL would even fail on a null character.
    return _of(principal).filter(batch_id=id).first() if POSSIBLE.fullmatch(id) else None


def _of(principal: Principal) -> "models.QuerySet[Batch]":
    return Batch.objects.owned_by(user_id=principal.user_id, team_id=principal.team_id)


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
