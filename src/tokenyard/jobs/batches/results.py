"""Writing the output and error files of a batch, from the results that are stored.

Lines come in the order of the input. A line that was answered is in the output file; one that was
refused, or was not run, is in the error file. A file without lines is not made. Decides nothing
about what the batch ends as.
"""

from dataclasses import dataclass, field

import msgspec

from tokenyard.jobs.batches.folder import FileFolder, Place, Writing
from tokenyard.jobs.batches.intake import read_custom_id
from tokenyard.jobs.batches.lines import line_id
from tokenyard.jobs.batches.ports import BatchStore
from tokenyard.jobs.batches.records import Batch, LineResult, Purpose, StoredFile
from tokenyard.protocol.batches import LineAnswer, LineError, LineOutput
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.ids import FileId, IdPrefix
from tokenyard.vocabulary.reasons import Reason

_RESULTS_AT_ONCE = 256
_WHY = {
    Reason.BATCH_EXPIRED: "The completion window of the batch ended before this line was run.",
    Reason.BATCH_CANCELLED: "The batch was cancelled before this line was run.",
    Reason.INSUFFICIENT_BUDGET: "The project's monthly budget did not hold this line.",
}


@dataclass(slots=True)
class _File:
    """One of the two files; it begins with its first line."""

    name: str
    id: FileId | None = None
    writing: Writing | None = None


@dataclass(slots=True)
class Written:
    """What came of it: files, whose bytes are safe on the disk, and how many lines were not run."""

    output: StoredFile | None = None
    errors: StoredFile | None = None
    left_out: int = 0

    @property
    def files(self) -> list[StoredFile]:
        """Those that there are."""
        return [file for file in (self.output, self.errors) if file is not None]


@dataclass(slots=True)
class ResultWriter:
    """Writes the files of one batch; use it once."""

    batch: Batch
    store: BatchStore
    folder: FileFolder
    clock: Clock
    randomness: Randomness
    line_bytes_max: int
    _output: _File = field(init=False)
    _errors: _File = field(init=False)

    def __post_init__(self) -> None:
        self._output = _File(f"{self.batch.id}_output.jsonl")
        self._errors = _File(f"{self.batch.id}_error.jsonl")

    async def write(self) -> Written:
        """Write both files; what is not finished leaves nothing."""
        try:
            finished = await self._write_results()
            left_out = await self._write_left_out(finished)
            return Written(
                output=await self._finish(self._output),
                errors=await self._finish(self._errors),
                left_out=left_out,
            )
        finally:
            for file in (self._output, self._errors):
                if file.writing is not None:
                    await file.writing.drop()

    async def forget(self, written: Written) -> None:
        """Delete files that the batch does not take."""
        for file in written.files:
            await self.folder.remove(file.id)

    async def _write_results(self) -> set[int]:
        finished: set[int] = set()
        after = 0
        while True:
            page = await self.store.results(self.batch.id, after=after, limit=_RESULTS_AT_ONCE)
            for result in page:
                finished.add(result.number)
                after = result.number
                await self._put(
                    self._output if result.succeeded else self._errors,
                    _told(result),
                    result.number,
                    result.custom_id,
                )
            if len(page) < _RESULTS_AT_ONCE:
                return finished

    async def _write_left_out(self, finished: set[int]) -> int:
        reason = self.batch.stopped
        if reason is None or reason is Reason.FILE_LOST:
            return 0
        error = LineError(code=reason, message=_WHY[reason])
        left_out = 0
        place: Place | None = Place()
        while place is not None:
            try:
                lines, place = await self.folder.read_lines(
                    self.batch.input_file, place, line_bytes_max=self.line_bytes_max
                )
            except FileNotFoundError:
                # The lines that have a result are worth more than the names of the others.
                return left_out
            for raw in lines:
                if raw.number not in finished:
                    left_out += 1
                    await self._put(self._errors, error, raw.number, read_custom_id(raw))
        return left_out

    async def _put(
        self, file: _File, told: LineAnswer | LineError, number: int, custom_id: str
    ) -> None:
        if file.writing is None:
            file.id = FileId(mint(IdPrefix.FILE, self.randomness))
            file.writing = self.folder.write(file.id)
        output = LineOutput(
            id=line_id(self.batch.id, number),
            custom_id=custom_id,
            response=told if isinstance(told, LineAnswer) else None,
            error=told if isinstance(told, LineError) else None,
        )
        await file.writing.write(msgspec.json.encode(output) + b"\n")

    async def _finish(self, file: _File) -> StoredFile | None:
        if file.writing is None or file.id is None:
            return None
        await file.writing.finish()
        now, kept = self.clock.now(), self.batch.output_seconds
        return StoredFile(
            id=file.id,
            project=self.batch.project,
            user=self.batch.user,
            filename=file.name,
            purpose=Purpose.BATCH_OUTPUT,
            bytes=file.writing.size,
            created_at=now,
            expires_at=None if kept is None else now + kept,
        )


def _told(result: LineResult) -> LineAnswer:
    return LineAnswer(
        status_code=result.status,
        request_id=result.request_id,
        body=msgspec.Raw(result.body.encode()),
    )
