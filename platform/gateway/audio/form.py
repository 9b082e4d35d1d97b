"""What a sound is sent in to be transcribed: a form with the file and some fields."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, StopFutureHandlers, StopUpload
from msgspec import Meta, Struct

from gateway import errors
from gateway.body import misfit
from gateway.errors import ApiError
from gateway.forms import Upload, read
from gateway.media import refusals
from gateway.media.rules import Kind

File = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Language = Annotated[str, Meta(pattern="^[a-z]{2,3}$")]
"""ISO 639-1, or 639-2 where that has none."""
GRANULARITIES = "timestamp_granularities[]"
"""What SDKs call the field in a form."""
LONGEST_PROMPT = 4096
"""Characters."""


class TranslationForm(Struct, kw_only=True):
    file: File
    model: str
    prompt: Annotated[str, Meta(max_length=LONGEST_PROMPT)] | None = None
    response_format: ResponseFormat | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None


class TranscriptionForm(TranslationForm, kw_only=True, rename={"timestamp_granularities": GRANULARITIES}):
    language: Language | None = None
    stream: bool | None = None
    timestamp_granularities: list[Literal["word", "segment"]] | None = None
    """Only with `verbose_json`: which of the two it is to have; segments, if left out."""


UNSUPPORTED = {"include": "leave it out", "chunking_strategy": "leave it out or send auto"}
"""Fields of OpenAI's that can't be honoured, and what to do."""

F = TypeVar("F", bound=TranslationForm)


class KeptFile(FileUploadHandler):
    """Keeps the first part that is called `file`, and nothing of others; no more than may be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.data: bytearray | None = None
        self.full = False
        self._keeps = False

    def new_file(self, field_name: str, *arguments: Any, **options: Any) -> None:
        super().new_file(field_name, *arguments, **options)
        self._keeps = field_name == "file" and self.data is None
        if self._keeps:
            self.data = bytearray()
        raise StopFutureHandlers

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if not self._keeps or self.data is None:
            return
        self.data += raw_data
        if len(self.data) > settings.MAX_AUDIO_BYTES:
            self.full = True
            raise StopUpload(connection_reset=True)

    def file_complete(self, file_size: int) -> None:
        self._keeps = False


def read_form(upload: Upload, form: type[F]) -> tuple[F, bytes, list[str]]:
    """The fields, the file, and the names of fields without effect here. Raises ApiError."""
    kept = KeptFile()
    given = read(upload, kept, "`file` and `model`")
    if kept.full:
        raise refusals.too_large("file", Kind.AUDIO, settings.MAX_AUDIO_BYTES)
    sent = [name for name in given if given[name] != ""]
    fields = {name: given.getlist(name) if name == GRANULARITIES else given[name] for name in sent}
    if kept.data is None:
        raise errors.invalid("`file` is required: a part of the form with a file name.", param="file")
    for name, value in fields.items():
        if (advice := UNSUPPORTED.get(_own(name))) and value != "auto":
            raise errors.not_supported(_own(name), advice)
    known = {field.encode_name for field in msgspec.structs.fields(form)}
    try:
        # The file is no field of text.
        read_fields = msgspec.convert({**fields, "file": ""}, form, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None
    unread = [_own(name) for name in fields if name not in known and _own(name) not in UNSUPPORTED]
    return read_fields, bytes(kept.data), list(dict.fromkeys(unread))


def _own(name: str) -> str:
    """A field's name without the brackets in which forms write lists and objects."""
    return name.partition("[")[0]


def _wrong(error: msgspec.ValidationError) -> ApiError:
    found = misfit(error)
    if found.param == "language":
        return errors.invalid("`language` must be a code of ISO 639-1, such as `en`.", param="language")
    if found.param is not None and found.param.startswith(GRANULARITIES):
        return errors.invalid(f"`{GRANULARITIES}` must be word, segment, or both.", param=GRANULARITIES)
    return found
