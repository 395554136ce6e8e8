"""Files and batches as the wire has them."""

from msgspec import UNSET

from tokenyard.jobs.batches.records import Batch, StoredFile
from tokenyard.protocol.batches import BatchBody, BatchFault, BatchFaults, FileBody, RequestCounts
from tokenyard.protocol.responses import ResponseUsage

# The one window that the API knows; how long it is, is a setting.
WINDOW = "24h"


def render_file(file: StoredFile) -> FileBody:
    """A file."""
    return FileBody(
        id=file.id,
        bytes=file.bytes,
        created_at=int(file.created_at),
        filename=file.filename,
        purpose=file.purpose.value,
        expires_at=UNSET if file.expires_at is None else int(file.expires_at),
    )


def render_batch(batch: Batch) -> BatchBody:
    """A batch."""
    body = BatchBody(
        id=batch.id,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file,
        completion_window=WINDOW,
        status=batch.status.value,
        created_at=int(batch.created_at),
        expires_at=int(batch.expires_at),
        request_counts=RequestCounts(
            total=batch.total, completed=batch.completed, failed=batch.failed
        ),
        usage=ResponseUsage.of(batch.usage),
        metadata=dict(batch.metadata),
        model=batch.model or UNSET,
        output_file_id=batch.output_file or UNSET,
        error_file_id=batch.error_file or UNSET,
    )
    if batch.faults:
        body.errors = BatchFaults(
            data=[
                BatchFault(
                    code=fault.code, message=fault.message, param=fault.param, line=fault.line
                )
                for fault in batch.faults
            ]
        )
    for status, at in batch.stamps.items():
        setattr(body, f"{status}_at", int(at))
    return body
