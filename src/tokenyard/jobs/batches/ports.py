"""What files and batches need from a store; `storage.memory_batches` and `storage.sql` keep it."""

from collections.abc import Sequence
from typing import Protocol

from tokenyard.jobs.batches.records import Batch, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import BatchStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.vocabulary.ids import BatchId, FileId, ProjectId


class FileStore(Protocol):
    """What is known of the files; their bytes lie elsewhere. A call that returns is committed."""

    async def add_file(self, file: StoredFile, *, project_bytes_max: int) -> bool:
        """Store it; False, and nothing written, when the project would have too many bytes."""
        ...

    async def find_file(self, file: FileId, project: ProjectId) -> StoredFile | None:
        """None when there is none, or when it belongs to another project."""
        ...

    async def list_files(
        self,
        project: ProjectId,
        *,
        purpose: Purpose | None,
        limit: int,
        after: FileId | None,
        newest_first: bool,
    ) -> list[StoredFile]:
        """By time of creation, then id; raises InvalidRequest when `after` is not in the list."""
        ...

    async def delete_file(self, file: FileId, project: ProjectId) -> bool:
        """False when there is none; raises Conflict while a batch that has not ended reads it."""
        ...

    async def stored_bytes(self, project: ProjectId) -> int:
        """The bytes of all files of the project."""
        ...

    async def expired_files(self, now: float, *, limit: int) -> list[StoredFile]:
        """Files whose time has passed and that no open batch reads."""
        ...

    async def file_ids(self) -> set[FileId]:
        """Every file there is."""
        ...


class BatchStore(Protocol):
    """Durable batches and the results of their lines. A call that returns is committed."""

    async def add_batch(self, batch: Batch, *, open_max: int) -> bool:
        """Store a new batch; False when the project has that many open ones.

        Raises NotFound when its input file is not there (any more).
        """
        ...

    async def find_batch(self, batch: BatchId, project: ProjectId) -> Batch | None:
        """None when there is none, or when it belongs to another project."""
        ...

    async def list_batches(
        self, project: ProjectId, *, limit: int, after: BatchId | None
    ) -> list[Batch]:
        """Newest first; raises InvalidRequest when `after` is not in the list."""
        ...

    async def open_batches(self) -> list[Batch]:
        """All that have not ended, the oldest first."""
        ...

    async def change_batch(self, batch: Batch, before: BatchStatus) -> bool:
        """Store a batch anew if it still has the status `before`; False otherwise.

        Counts and usage are left as they are: only lines change those.
        """
        ...

    async def finish_line(self, batch: BatchId, result: LineResult, usage: UsageRow | None) -> bool:
        """Store a result, count it in its batch and add its bill, in one transaction.

        False, and nothing written, when the line had a result before, or when the batch takes none
        any more. The result is written even when the caller is cancelled while it waits.
        """
        ...

    async def finished_numbers(self, batch: BatchId) -> set[int]:
        """The numbers of the lines that have a result."""
        ...

    async def results(self, batch: BatchId, *, after: int, limit: int) -> list[LineResult]:
        """Results of lines with a greater number, in order."""
        ...

    async def end_batch(
        self, batch: Batch, before: BatchStatus, files: Sequence[StoredFile]
    ) -> bool:
        """Store the final state and the output files, and drop the results, in one transaction.

        False, and nothing written, when the batch has not the status `before`. Of the counts only
        `failed` is taken over: lines that were not run may count as failed.
        """
        ...
