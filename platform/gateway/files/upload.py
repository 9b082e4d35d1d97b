"""From a form's bytes to a stored file. Django reads the form; the file's part goes to the database piece by piece."""

from typing import Annotated, Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, StopFutureHandlers, StopUpload
from django.utils.datastructures import MultiValueDict
from msgspec import Meta, Struct

from accounts import files
from accounts.authentication import Principal
from accounts.models import StoredFile
from accounts.models.stored_file import LONGEST_NAME
from gateway import errors
from gateway.body import one_of
from gateway.forms import Upload, read

SOONEST, LATEST = 3600, 30 * 86_400
"""Seconds after which a file may expire."""
PURPOSES = [purpose.value for purpose in StoredFile.Purpose if purpose != StoredFile.Purpose.BATCH_OUTPUT]
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class FileForm(Struct, kw_only=True, rename={"anchor": ANCHOR, "seconds": SECONDS}):
    """For the schema alone: forms are read by Django."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    purpose: Annotated[str, one_of(PURPOSES)]
    anchor: Annotated[str, one_of(["created_at"])] | None = None
    seconds: Annotated[int, Meta(ge=SOONEST, le=LATEST)] | None = None
    """After its creation the file expires; both fields, or neither."""


class ToDatabase(FileUploadHandler):
    """Keeps the first part that is called `file`, and nothing of others."""

    def __init__(self, principal: Principal) -> None:
        super().__init__()
        self._principal = principal
        self.writer: files.Writer | None = None
        self._writes = False
        self.full = False

    def new_file(self, field_name: str, file_name: str, *arguments: Any, **options: Any) -> None:
        super().new_file(field_name, file_name, *arguments, **options)
        self._writes = field_name == "file" and self.writer is None
        if self._writes:
            owner = self._principal
            row = StoredFile(
                user_id=owner.user_id,
                team_id=owner.team_id,
                filename=file_name[:LONGEST_NAME],
                expires_at=files.lifetime(),
            )
            self.writer = files.Writer(row, room=files.room_of(owner.user_id))
        raise StopFutureHandlers

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self._writes and self.writer is not None:
            try:
                self.writer.write(raw_data)
            except files.TooMuchStored:
                self.full = True
                raise StopUpload(connection_reset=True) from None

    def file_complete(self, file_size: int) -> None:
        self._writes = False


def store(upload: Upload, principal: Principal) -> StoredFile:
    """Raises ApiError; then nothing is left of it."""
    handler = ToDatabase(principal)
    try:
        form = read(upload, handler, "`file` and `purpose`")
        if handler.full:
            raise errors.too_much_stored(settings.FILES_PER_USER_BYTES)
        return stored(form, handler)
    except BaseException:
        if handler.writer is not None:
            handler.writer.discard()
        raise


def stored(form: "MultiValueDict[str, str]", handler: ToDatabase) -> StoredFile:
    purpose = form.get("purpose")
    if purpose is None:
        raise errors.invalid("`purpose` is required.", param="purpose")
    if purpose not in PURPOSES:
        raise errors.invalid(f"`purpose` must be one of {', '.join(PURPOSES)}.", param="purpose")
    if handler.writer is None:
        raise errors.invalid("`file` is required: a part of the form with a file name.", param="file")
    file = handler.writer.file
    if file.size == 0:
        raise errors.invalid("`file` is empty.", param="file")
    if file.size > settings.MAX_FILE_BYTES:
        raise errors.request_too_large(settings.MAX_FILE_BYTES, "ATELIER_MAX_FILE_MB")
    file.purpose = purpose
    file.expires_at = files.lifetime(seconds_of(form))
    return handler.writer.finish()


def seconds_of(form: "MultiValueDict[str, str]") -> int | None:
    """After which the file is to expire; None: nothing was said."""
    anchor, seconds = form.get(ANCHOR), form.get(SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise errors.invalid("`expires_after[anchor]` must be created_at.", param="expires_after")
    if not (seconds and seconds.isascii() and seconds.isdigit() and len(seconds) < 9):
        seconds = "0"
    if not SOONEST <= int(seconds) <= LATEST:
        raise errors.invalid(
            f"`expires_after[seconds]` must be a whole number from {SOONEST} to {LATEST}.", param="expires_after"
        )
    return int(seconds)
