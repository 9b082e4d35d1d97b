"""Files, and batches of them."""

from gateway.batches import endpoint as batches
from gateway.files import endpoint as files
from gateway.files.upload import PURPOSES, FileForm
from gateway.schema import examples
from gateway.schema.operation import BINARY, ORDER, Operation, Query

OPERATIONS = (
    Operation(
        consumer=files.Files,
        method="POST",
        name="createFile",
        tag="OpenAI",
        summary="Upload a file",
        takes=FileForm,
        takes_form=True,
        gives=files.FileObject,
        examples=examples.FILES,
    ),
    Operation(
        consumer=files.Files,
        method="GET",
        name="listFiles",
        tag="OpenAI",
        summary="The files that are stored",
        gives=files.FileList,
        query=(
            Query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": files.MOST_LISTED, "default": files.MOST_LISTED},
                "Files on a page.",
            ),
            ORDER,
            Query("after", {"type": "string"}, "The id of the file that the page begins after."),
            Query("purpose", {"enum": [*PURPOSES, "batch_output"]}, "Only those with this purpose."),
        ),
    ),
    Operation(
        consumer=files.OneFile,
        method="GET",
        name="getFile",
        tag="OpenAI",
        summary="What is known of a file",
        gives=files.FileObject,
        refuses=(404,),
    ),
    Operation(
        consumer=files.OneFile,
        method="DELETE",
        name="deleteFile",
        tag="OpenAI",
        summary="Delete a file",
        gives=files.DeletedFile,
        refuses=(404,),
    ),
    Operation(
        consumer=files.FileContent,
        method="GET",
        name="getFileContent",
        tag="OpenAI",
        summary="What is in a file",
        gives=BINARY,
        refuses=(404,),
    ),
    Operation(
        consumer=batches.Batches,
        method="POST",
        name="createBatch",
        tag="OpenAI",
        summary="Have the requests of a file run when there is time for them",
        takes=batches.CreateBatch,
        gives=batches.BatchObject,
        refuses=(404,),
        examples=examples.BATCHES,
    ),
    Operation(
        consumer=batches.Batches,
        method="GET",
        name="listBatches",
        tag="OpenAI",
        summary="The batches that there are",
        gives=batches.BatchList,
        query=(
            Query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": batches.MOST_LISTED, "default": batches.LISTED},
                "Batches on a page.",
            ),
            Query("after", {"type": "string"}, "The id of the batch that the page begins after."),
        ),
    ),
    Operation(
        consumer=batches.OneBatch,
        method="GET",
        name="getBatch",
        tag="OpenAI",
        summary="How a batch is",
        gives=batches.BatchObject,
        refuses=(404,),
    ),
    Operation(
        consumer=batches.CancelBatch,
        method="POST",
        name="cancelBatch",
        tag="OpenAI",
        summary="Stop a batch; what has been answered stays",
        gives=batches.BatchObject,
        refuses=(404,),
    ),
)
