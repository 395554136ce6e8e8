"""Files and batches in memory, beside `storage.memory`; keeps the ports of `jobs.batches`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tokenyard.jobs.batches.records import Batch, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import OPEN, TAKING, BatchStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.storage.refusals import already_there, file_in_use, no_file, unknown_cursor
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import BatchId, FileId, ProjectId


class MemoryBatchStore:
    """Keeps `jobs.batches.ports.FileStore` and `BatchStore`; `add_usage` writes a bill."""

    def __init__(self, add_usage: Callable[[UsageRow], bool]) -> None:
        self._add_usage = add_usage
        self._files: dict[FileId, StoredFile] = {}
        self._batches: dict[BatchId, Batch] = {}
        self._results: dict[BatchId, dict[int, LineResult]] = {}

    async def add_file(self, file: StoredFile, *, project_bytes_max: int) -> bool:
        """Store it; False, and nothing written, when the project would have too many bytes."""
        if file.id in self._files:
            raise already_there("file")
        if await self.stored_bytes(file.project) + file.bytes > project_bytes_max:
            return False
        self._files[file.id] = file
        return True

    async def find_file(self, file: FileId, project: ProjectId) -> StoredFile | None:
        """None when there is none, or when it belongs to another project."""
        held = self._files.get(file)
        return held if held is not None and held.project == project else None

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
        mine = [file for file in self._files.values() if file.project == project]
        mine.sort(key=lambda file: (file.created_at, file.id), reverse=newest_first)
        if after is not None:
            places = [place for place, file in enumerate(mine) if file.id == after]
            if not places:
                raise unknown_cursor()
            mine = mine[places[0] + 1 :]
        return [file for file in mine if purpose is None or file.purpose is purpose][:limit]

    async def delete_file(self, file: FileId, project: ProjectId) -> bool:
        """False when there is none; raises Conflict while a batch that has not ended reads it."""
        if await self.find_file(file, project) is None:
            return False
        if file in self._read_files():
            raise file_in_use()
        del self._files[file]
        return True

    async def stored_bytes(self, project: ProjectId) -> int:
        """The bytes of all files of the project."""
        return sum(file.bytes for file in self._files.values() if file.project == project)

    async def expired_files(self, now: float, *, limit: int) -> list[StoredFile]:
        """Files whose time has passed and that no open batch reads."""
        read = self._read_files()
        expired = [
            file
            for file in self._files.values()
            if file.expires_at is not None and file.expires_at <= now and file.id not in read
        ]
        return sorted(expired, key=lambda file: (file.expires_at or 0.0, file.id))[:limit]

    async def file_ids(self) -> set[FileId]:
        """Every file there is."""
        return set(self._files)

    async def add_batch(self, batch: Batch, *, open_max: int) -> bool:
        """Store a new batch; False when the project has that many open ones."""
        if batch.id in self._batches:
            raise already_there("batch")
        if await self.find_file(batch.input_file, batch.project) is None:
            raise no_file()
        running = [held for held in await self.open_batches() if held.project == batch.project]
        if len(running) >= open_max:
            return False
        self._batches[batch.id] = replace(batch, metadata=dict(batch.metadata))
        return True

    async def find_batch(self, batch: BatchId, project: ProjectId) -> Batch | None:
        """None when there is none, or when it belongs to another project."""
        held = self._batches.get(batch)
        return held if held is not None and held.project == project else None

    async def list_batches(
        self, project: ProjectId, *, limit: int, after: BatchId | None
    ) -> list[Batch]:
        """Newest first; raises InvalidRequest when `after` is not in the list."""
        mine = [batch for batch in self._batches.values() if batch.project == project]
        mine.sort(key=lambda batch: (batch.created_at, batch.id), reverse=True)
        if after is None:
            return mine[:limit]
        places = [place for place, batch in enumerate(mine) if batch.id == after]
        if not places:
            raise unknown_cursor()
        return mine[places[0] + 1 :][:limit]

    async def open_batches(self) -> list[Batch]:
        """All that have not ended, the oldest first."""
        found = [batch for batch in self._batches.values() if batch.status in OPEN]
        return sorted(found, key=lambda batch: (batch.created_at, batch.id))

    async def change_batch(self, batch: Batch, before: BatchStatus) -> bool:
        """Store a batch anew if it still has the status `before`; counts stay as they are."""
        held = self._batches.get(batch.id)
        if held is None or held.status is not before:
            return False
        self._batches[batch.id] = _without_counts(batch, held)
        return True

    async def finish_line(self, batch: BatchId, result: LineResult, usage: UsageRow | None) -> bool:
        """Store a result, count it in its batch and add its bill; False when it had one before."""
        held = self._batches.get(batch)
        results = self._results.setdefault(batch, {})
        if held is None or held.status not in TAKING or result.number in results:
            return False
        results[result.number] = result
        self._batches[batch] = replace(
            held,
            completed=held.completed + result.succeeded,
            failed=held.failed + (not result.succeeded),
            usage=_sum(held.usage, result.usage or Usage(0, 0)),
        )
        if usage is not None:
            self._add_usage(usage)
        return True

    async def finished_numbers(self, batch: BatchId) -> set[int]:
        """The numbers of the lines that have a result."""
        return set(self._results.get(batch, {}))

    async def results(self, batch: BatchId, *, after: int, limit: int) -> list[LineResult]:
        """Results of lines with a greater number, in order."""
        held = self._results.get(batch, {})
        return [held[number] for number in sorted(held) if number > after][:limit]

    async def end_batch(
        self, batch: Batch, before: BatchStatus, files: Sequence[StoredFile]
    ) -> bool:
        """Store the final state and the output files, and drop the results."""
        held = self._batches.get(batch.id)
        if held is None or held.status is not before:
            return False
        self._batches[batch.id] = replace(_without_counts(batch, held), failed=batch.failed)
        self._files.update({file.id: file for file in files})
        self._results.pop(batch.id, None)
        return True

    def _read_files(self) -> set[FileId]:
        return {batch.input_file for batch in self._batches.values() if batch.status in OPEN}


def _without_counts(batch: Batch, held: Batch) -> Batch:
    return replace(batch, completed=held.completed, failed=held.failed, usage=held.usage)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
