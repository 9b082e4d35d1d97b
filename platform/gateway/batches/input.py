"""The beginning of a batch: its input is read, and each line becomes a row. Synchronous."""

from django.conf import settings

from accounts import files
from accounts.batches import progress
from accounts.models import Batch, BatchLine, StoredFile
from gateway.batches.reading import Reading, Resolve, lines_of
from inference.registry import read_catalogue

PAGE = 500
"""Lines in one transaction."""


def validate(batch: Batch) -> None:
    """The batch runs from now on, or has failed; one that is cancelled meanwhile is left as it is. Begins anew where
    somebody died over it. Raises LeaseLost."""
    progress.forget_lines(batch)
    file = StoredFile.objects.get(file_id=batch.input_file_id, is_whole=True)
    reading = Reading(batch, resolver(batch))
    held: list[BatchLine] = []
    for found in lines_of(files.chunks(file), longest=settings.MAX_BODY_BYTES):
        if line := reading.line(found):
            held.append(line)
        if len(held) >= PAGE:
            progress.add_lines(batch, held)
            held.clear()
            progress.renew(batch)
        if reading.is_hopeless or batch.status != Batch.Status.VALIDATING:
            break
    reading.finish()
    if reading.problems:
        progress.forget_lines(batch)
        progress.end(batch, Batch.Status.FAILED, errors=reading.problems)
        return
    progress.add_lines(batch, held)
    progress.begin(batch, total=batch.lines.count(), model=reading.model)


def resolver(batch: Batch) -> Resolve:
    """For the models that the batch's key may use. Two queries, now; none later."""
    catalogue = read_catalogue()
    allowed = set(batch.key.allowed_models) if batch.key else set()

    def resolve(name: str) -> str | None:
        model = catalogue.names.get(name)
        if model is None or not allowed or model.name in allowed:
            return model.name if model else None
        # To a key that may not use the default model, `default` is the first that it may.
        own = [each.name for each in catalogue.models if each.name in allowed] if name == "default" else []
        return own[0] if own else None

    return resolve
