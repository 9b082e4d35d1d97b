"""Bodies that are forms with a file. Django reads them; what becomes of the file is a handler's affair."""

import asyncio
import tempfile
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.datastructures import MultiValueDict

from gateway import errors
from gateway.endpoint import KeyedEndpoint

IN_MEMORY_BYTES = 1 << 20
"""Of a form; what is more waits on disk until all of it is there."""


@dataclass(frozen=True, slots=True)
class Upload:
    body: Any
    """A file, open for reading: the whole form."""
    size: int
    content_type: str


class FormEndpoint(KeyedEndpoint):
    """Keeps the body as it comes, for `handle`, which has to close it: `with self.kept:`."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.kept = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # closed by `handle`

    async def keep(self, piece: bytes) -> bytes:
        await asyncio.to_thread(self.kept.write, piece)
        return b""

    def upload(self) -> Upload:
        headers = dict(self.scope["headers"])
        size = self.kept.tell()
        self.kept.seek(0)
        return Upload(self.kept, size, headers.get(b"content-type", b"").decode("latin-1"))


def read(upload: Upload, handler: FileUploadHandler, wanted: str) -> "MultiValueDict[str, str]":
    """The form's fields; its files go to the handler. wanted: the fields that it needs, for a message. Raises
    ApiError."""
    headers = {"CONTENT_TYPE": upload.content_type, "CONTENT_LENGTH": str(upload.size)}
    if not upload.content_type.lower().startswith("multipart/form-data"):
        raise errors.invalid(f"The request body must be a form: `multipart/form-data` with {wanted}.")
    try:
        fields, _ = MultiPartParser(headers, upload.body, [handler], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation, UnicodeError):
        raise errors.invalid("The request body can't be read as `multipart/form-data`.") from None
    return fields
