"""What is kept of files and batches. Times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

from tokenyard.jobs.batches.rules.states import BatchStatus
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, Principal
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


class Purpose(StrEnum):
    """What a file is for; the values are OpenAI's."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    USER_DATA = "user_data"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes lie complete in the folder."""

    id: FileId
    project: ProjectId
    user: UserId
    filename: str
    purpose: Purpose
    bytes: int
    created_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why an input file is refused, or why a batch stopped; `line` counts from 1."""

    code: Reason
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class LineResult:
    """How one line ended: what an online request would have been answered.

    `body` is the JSON of the answer, or of the error; `status` is 200 when it was answered.
    """

    number: int
    custom_id: str
    request_id: str
    status: int
    body: str
    # What it used; None when the line failed.
    usage: Usage | None = None

    @property
    def succeeded(self) -> bool:
        return self.status == 200


class HeldTo(TypedDict):
    """The part of a batch that says whose it is above the project, and what its key may."""

    organisation: OrganisationId
    key_models: frozenset[str] | None
    key_cap_nanos: int | None
    server_tags: frozenset[str]


def held_to(caller: Principal) -> HeldTo:
    """What a batch of that caller is held to, as long as it runs."""
    return HeldTo(
        organisation=caller.organisation,
        key_models=caller.models,
        key_cap_nanos=caller.monthly_cap_nanos,
        server_tags=caller.server_tags,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Counts and usage are those of the committed lines."""

    id: BatchId
    project: ProjectId
    user: UserId
    key: KeyId | None
    endpoint: str
    input_file: FileId
    status: BatchStatus
    created_at: float
    expires_at: float
    organisation: OrganisationId = DEFAULT_ORGANISATION
    # What the key that made it is held to; None means nothing.
    key_models: frozenset[str] | None = None
    server_tags: frozenset[str] = frozenset()
    key_cap_nanos: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    # How long output files are kept; None for as long as nobody deletes them.
    output_seconds: int | None = None
    # Known once the input was read.
    model: ModelName | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    # When each status was reached, `validating` left out.
    stamps: Mapping[BatchStatus, float] = field(default_factory=dict)
    faults: tuple[LineFault, ...] = ()
    # Why lines were left out; None when all of them ran.
    stopped: Reason | None = None
    output_file: FileId | None = None
    error_file: FileId | None = None

    @property
    def caller(self) -> Principal:
        """Who pays."""
        return Principal(
            self.user,
            self.project,
            self.key,
            organisation=self.organisation,
            models=self.key_models,
            monthly_cap_nanos=self.key_cap_nanos,
            server_tags=self.server_tags,
        )
