"""Files, batches and results as rows and back, field by field."""

from typing import Any

import msgspec
from sqlalchemy import Row

from tokenyard.jobs.batches.records import Batch, LineFault, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import BatchStatus
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import (
    BatchId,
    FileId,
    KeyId,
    ModelName,
    OrganisationId,
    ProjectId,
    UserId,
)
from tokenyard.vocabulary.reasons import Reason

Values = dict[str, Any]


def write_file(file: StoredFile) -> Values:
    return {
        "id": file.id,
        "project_id": file.project,
        "user_id": file.user,
        "filename": file.filename,
        "purpose": file.purpose.value,
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def read_file(row: Row[Any]) -> StoredFile:
    return StoredFile(
        id=FileId(row.id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        filename=row.filename,
        purpose=Purpose(row.purpose),
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def write_batch(batch: Batch) -> Values:
    """The row of a new batch."""
    return {
        "id": batch.id,
        "project_id": batch.project,
        "user_id": batch.user,
        "key_id": batch.key,
        "organisation_id": batch.organisation,
        "key_models": None if batch.key_models is None else sorted(batch.key_models),
        "server_tags": sorted(batch.server_tags) or None,
        "key_cap_nanos": batch.key_cap_nanos,
        "endpoint": batch.endpoint,
        "input_file_id": batch.input_file,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        "metadata": dict(batch.metadata),
        "output_seconds": batch.output_seconds,
        "completed": batch.completed,
        "failed": batch.failed,
        **_write_usage(batch.usage),
        **write_state(batch),
    }


def write_state(batch: Batch) -> Values:
    """The part of a batch's row that a change of status may change."""
    return {
        "status": batch.status.value,
        "model": batch.model,
        "total": batch.total,
        "stamps": {status.value: at for status, at in batch.stamps.items()},
        "faults": msgspec.to_builtins(batch.faults),
        "stopped": None if batch.stopped is None else batch.stopped.value,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
    }


def read_batch(row: Row[Any]) -> Batch:
    return Batch(
        id=BatchId(row.id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        key=None if row.key_id is None else KeyId(row.key_id),
        organisation=OrganisationId(row.organisation_id),
        key_models=None if row.key_models is None else frozenset(row.key_models),
        server_tags=frozenset(row.server_tags or ()),
        key_cap_nanos=row.key_cap_nanos,
        endpoint=row.endpoint,
        input_file=FileId(row.input_file_id),
        status=BatchStatus(row.status),
        created_at=row.created_at,
        expires_at=row.expires_at,
        # An attribute of that name would be SQLAlchemy's own.
        metadata=row._mapping["metadata"],
        output_seconds=row.output_seconds,
        model=None if row.model is None else ModelName(row.model),
        total=row.total,
        completed=row.completed,
        failed=row.failed,
        usage=_read_usage(row),
        stamps={BatchStatus(status): float(at) for status, at in row.stamps.items()},
        faults=msgspec.convert(row.faults, tuple[LineFault, ...]),
        stopped=None if row.stopped is None else Reason(row.stopped),
        output_file=None if row.output_file_id is None else FileId(row.output_file_id),
        error_file=None if row.error_file_id is None else FileId(row.error_file_id),
    )


def write_result(batch: BatchId, result: LineResult) -> Values:
    return {
        "batch_id": batch,
        "number": result.number,
        "custom_id": result.custom_id,
        "request_id": result.request_id,
        "status": result.status,
        "body": result.body,
        **(_NO_USAGE if result.usage is None else _write_usage(result.usage)),
    }


def read_result(row: Row[Any]) -> LineResult:
    return LineResult(
        number=row.number,
        custom_id=row.custom_id,
        request_id=row.request_id,
        status=row.status,
        body=row.body,
        usage=None if row.prompt_tokens is None else _read_usage(row),
    )


def _write_usage(usage: Usage) -> Values:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


_NO_USAGE: Values = dict.fromkeys(_write_usage(Usage(0, 0)))


def _read_usage(row: Row[Any]) -> Usage:
    return Usage(
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached_tokens=row.cached_tokens,
        reasoning_tokens=row.reasoning_tokens,
    )
