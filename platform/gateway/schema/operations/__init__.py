"""What each consumer takes and gives: one entry for each operation. Its path is routing's, its key the consumer's."""

from gateway.schema.operations import audio, batches, generating, responses, telling

OPERATIONS = (
    *generating.OPERATIONS,
    *responses.OPERATIONS,
    *batches.OPERATIONS,
    *audio.OPERATIONS,
    *telling.OPERATIONS,
)
