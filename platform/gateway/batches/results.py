"""The end of a batch: its answers become files, in the input's order, and the batch says which. Synchronous."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

from django.db import transaction

from accounts import files
from accounts.batches import progress
from accounts.batches.verbs import remove_lines
from accounts.models import Batch, BatchLine, StoredFile
from gateway.batches.answers import LineError, unanswered

PAGE = 200
"""Lines at a time."""
RENEW_SECONDS = 3.0


def close(batch: Batch, error: LineError) -> None:
    """What has not run is not run any more. Raises LeaseLost."""
    while lines := list(batch.lines.filter(state=BatchLine.State.WAITING).order_by("number")[:PAGE]):
        progress.close_waiting(batch, [(line, unanswered(line.custom_id, error)) for line in lines])


def write(batch: Batch, status: str, *, errors: Sequence[dict[str, Any]] = ()) -> None:
    """All its lines have ended, and so does the batch. Both files and its end are there together or not at all: who
    dies before begins anew. Raises LeaseLost."""
    files.delete_unfinished_of(batch)
    written: dict[str, files.Writer] = {}
    try:
        for name, state in (("output", BatchLine.State.COMPLETED), ("error", BatchLine.State.FAILED)):
            for lines in _pages(batch, state):
                if name not in written:
                    written[name] = files.Writer(_file(batch, name))
                written[name].write("".join(f"{line}\n" for line in lines).encode())
        with transaction.atomic():
            ids = {f"{name}_file_id": writer.finish().file_id for name, writer in written.items()}
            progress.end(batch, status, errors=errors, **ids)
    except BaseException:
        for writer in written.values():
            writer.discard()
        raise
    remove_lines(batch)


def _pages(batch: Batch, state: str) -> Iterator[list[str]]:
    number, renewed = 0, monotonic()
    while rows := list(
        batch.lines.filter(state=state, number__gt=number).order_by("number").values_list("number", "answer")[:PAGE]
    ):
        yield [answer for _, answer in rows]
        number = rows[-1][0]
        if monotonic() - renewed > RENEW_SECONDS:
            progress.renew(batch)
            renewed = monotonic()


def _file(batch: Batch, name: str) -> StoredFile:
    return StoredFile(
        user_id=batch.user_id,
        team_id=batch.team_id,
        filename=f"{batch.batch_id}_{name}.jsonl",
        purpose=StoredFile.Purpose.BATCH_OUTPUT,
        made_by=batch.batch_id,
        expires_at=files.lifetime(batch.output_seconds),
    )
