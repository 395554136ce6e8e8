"""Files and Batches on the wire, and the lines of a batch's files.

Source: OpenAI API reference, `OpenAIFile`, `Batch`, `CreateBatchRequest`, and its guide to batches
for the lines (`BatchRequestInput`, `BatchRequestOutput`).
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenyard.protocol.chat_completions import UsageBody
from tokenyard.protocol.responses import Metadata, ResponseUsage

CustomId = Annotated[str, Meta(min_length=1, max_length=512)]
KeptSeconds = Annotated[int, Meta(ge=3_600, le=2_592_000)]


class KeptAfter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How long a file is kept after it was made, in seconds."""

    anchor: Literal["created_at"]
    seconds: KeptSeconds


class UploadForm(msgspec.Struct, kw_only=True):
    """The fields of `POST /v1/files`, which come as multipart/form-data."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    purpose: Literal["batch", "user_data"]
    expires_after: KeptAfter | UnsetType = UNSET


class FileBody(msgspec.Struct, kw_only=True):
    """A file as we give it out."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output", "user_data"]
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    expires_at: int | UnsetType = UNSET


class FileList(msgspec.Struct, kw_only=True):
    """A page of files; the ids are empty strings when the page is empty."""

    data: list[FileBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"


class FileDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class CreateBatchRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/batches`."""

    input_file_id: Annotated[str, Meta(min_length=1, max_length=256)]
    endpoint: Annotated[str, Meta(min_length=1, max_length=256)]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: KeptAfter | None = None


class BatchFault(msgspec.Struct, kw_only=True):
    """What is wrong with an input file, and where."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchFaults(msgspec.Struct, kw_only=True):
    """All that is wrong, up to a limit."""

    data: list[BatchFault]
    object: Literal["list"] = "list"


class RequestCounts(msgspec.Struct, kw_only=True):
    """How far a batch is, in lines."""

    total: int
    completed: int
    failed: int


class BatchBody(msgspec.Struct, kw_only=True):
    """A batch as we give it out; what has not happened is left out."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    created_at: int
    expires_at: int
    request_counts: RequestCounts
    usage: ResponseUsage
    metadata: dict[str, str]
    model: str | UnsetType = UNSET
    errors: BatchFaults | UnsetType = UNSET
    output_file_id: str | UnsetType = UNSET
    error_file_id: str | UnsetType = UNSET
    in_progress_at: int | UnsetType = UNSET
    finalizing_at: int | UnsetType = UNSET
    completed_at: int | UnsetType = UNSET
    failed_at: int | UnsetType = UNSET
    expired_at: int | UnsetType = UNSET
    cancelling_at: int | UnsetType = UNSET
    cancelled_at: int | UnsetType = UNSET
    object: Literal["batch"] = "batch"


class BatchList(msgspec.Struct, kw_only=True):
    """A page of batches, the newest first; the ids are empty strings when the page is empty."""

    data: list[BatchBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"


class LineRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One line of an input file."""

    custom_id: CustomId
    method: Literal["POST"]
    url: str
    body: msgspec.Raw


class LineAnswer(msgspec.Struct, kw_only=True):
    """What an online request would have been answered."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class LineError(msgspec.Struct, kw_only=True):
    """Why a line was not run."""

    code: str
    message: str


class LineOutput(msgspec.Struct, kw_only=True):
    """One line of an output or error file."""

    id: str
    custom_id: str
    response: LineAnswer | None
    error: LineError | None


class AnswerHead(msgspec.Struct):
    """The part of a completion that its bill needs."""

    usage: UsageBody
    choices: list[dict[str, Any]] = []
