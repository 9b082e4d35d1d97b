"""`/v1/files` and what is below it."""

import re

from channels.db import database_sync_to_async
from django.utils.http import content_disposition_header
from msgspec import Struct

from accounts import files
from accounts.authentication import Principal
from accounts.models import Scope, StoredFile, User
from gateway import errors
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint
from gateway.files.upload import PURPOSES, store
from gateway.forms import FormEndpoint
from gateway.paging import is_ascending, limit_of, page, query_of

MOST_LISTED = 10_000
POSSIBLE = re.compile(r"file-[0-9a-f]{32}")


class FileObject(Struct, kw_only=True):
    id: str
    object: str = "file"
    bytes: int
    created_at: int
    """Unix seconds; as `expires_at`."""
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"
    """Deprecated by OpenAI, and always this."""
    status_details: None = None

    @classmethod
    def of(cls, file: StoredFile) -> "FileObject":
        return cls(
            id=file.file_id,
            bytes=file.size,
            created_at=int(file.created_at.timestamp()),
            expires_at=int(file.expires_at.timestamp()),
            filename=file.filename,
            purpose=file.purpose,
        )


class FileList(Struct, kw_only=True):
    object: str = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(Struct):
    id: str
    object: str = "file"
    deleted: bool = True


class Files(FormEndpoint):
    """`GET` and `POST /v1/files`."""

    methods = ("GET", "HEAD", "POST")
    needs = Scope.BATCH
    parameters = ("after", "limit", "order", "purpose")

    async def handle(self, body: bytes) -> None:
        with self.kept:
            if self.scope["method"] == "POST":
                await self._store()
            else:
                await self._list()

    async def _store(self) -> None:
        query_of(self.scope, ())
        # In a thread of the request's own: it may take long, and the ledger's must not wait for it.
        file = await database_sync_to_async(store)(self.upload(), self.principal)
        await self.answer(encode(FileObject.of(file)))

    async def _list(self) -> None:
        query = query_of(self.scope, self.parameters)
        limit = limit_of(query, usual=MOST_LISTED, most=MOST_LISTED)
        ascending = is_ascending(query)
        purpose = query.get("purpose")
        if purpose is not None and purpose not in StoredFile.Purpose.values:
            raise errors.invalid(f"`purpose` must be one of {', '.join([*PURPOSES, 'batch_output'])}.", param="purpose")

        def look_up() -> tuple[list[StoredFile], bool]:
            after = _owned(self.principal, query["after"]) if "after" in query else None
            if "after" in query and after is None:
                raise errors.invalid(f"`after`: you have no file {errors.quote(query['after'])}.", param="after")
            mine = StoredFile.objects.live().owned_by(user_id=self.principal.user_id, team_id=self.principal.team_id)
            rows = mine.filter(purpose=purpose) if purpose else mine
            return page(rows, after=after, limit=limit, ascending=ascending)

        found, more = await database_sync_to_async(look_up)()
        data = [FileObject.of(file) for file in found]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        await self.answer(encode(FileList(data=data, first_id=first, last_id=last, has_more=more)))


class OneFileEndpoint(KeyedEndpoint):
    """One that is about a stored file."""

    needs = Scope.BATCH

    async def file(self) -> StoredFile:
        """Raises ApiError: the same for one that is not there and for another owner's."""
        query_of(self.scope, ())
        id: str = self.scope["url_route"]["kwargs"]["id"]
        found: StoredFile | None = await database_sync_to_async(_owned)(self.principal, id)
        if found is None:
            raise errors.file_not_found(id)
        return found


class OneFile(OneFileEndpoint):
    """`GET` and `DELETE /v1/files/{id}`."""

    methods = ("GET", "HEAD", "DELETE")

    async def handle(self, body: bytes) -> None:
        file = await self.file()
        if self.scope["method"] != "DELETE":
            await self.answer(encode(FileObject.of(file)))
            return
        try:
            deleted = await database_sync_to_async(_delete)(file, self.principal)
        except files.FileInUse:
            raise errors.file_in_use() from None
        if not deleted:
            raise errors.file_not_found(file.file_id)
        await self.answer(encode(DeletedFile(file.file_id)))


class FileContent(OneFileEndpoint):
    """`GET /v1/files/{id}/content`."""

    async def handle(self, body: bytes) -> None:
        file = await self.file()
        disposition = content_disposition_header(as_attachment=True, filename=file.filename) or "attachment"
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(file.size),
            "content-disposition": disposition,
            "x-content-type-options": "nosniff",
        }
        await self.send_headers(headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
        number, more = 0, True
        while more:
            # Deleted meanwhile: the answer ends before its length, which clients notice.
            piece = await database_sync_to_async(files.chunk)(file, number)
            number += 1
            more = piece is not None and number * files.CHUNK_BYTES < file.size
            await self.send_body(piece or b"", more_body=more)


def _owned(principal: Principal, id: str) -> StoredFile | None:
    # What can't be an id need not be asked for; PostgreSQL would even fail on a null character.
    if not POSSIBLE.fullmatch(id):
        return None
    mine = StoredFile.objects.live().owned_by(user_id=principal.user_id, team_id=principal.team_id)
    return mine.filter(file_id=id).first()


def _delete(file: StoredFile, principal: Principal) -> bool:
    return files.do_delete_file(file, acting_user=User.objects.get(pk=principal.user_id))
