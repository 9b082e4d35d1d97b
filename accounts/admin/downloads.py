"""Files that are written while they are sent."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils import timezone

CSV = "text/csv; charset=utf-8; header=present"


def csv_download(name: str, texts: Iterator[str]) -> StreamingHttpResponse:
    """name: how the file's begins. One piece is in memory at a time."""
    response = StreamingHttpResponse(_pieces(texts), content_type=CSV)
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.localdate():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    return response


async def _pieces(texts: Iterator[str]) -> AsyncIterator[bytes]:
    # Django would read a plain iterator to its end before it sends anything.
    while (text := await _following(texts)) is not None:
        yield text.encode()


@sync_to_async
def _following(texts: Iterator[str]) -> str | None:
    return next(texts, None)
