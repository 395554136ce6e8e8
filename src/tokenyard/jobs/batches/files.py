"""Files: taken in, listed, read and deleted by the project they belong to.

Decides how much a project may store. Does not know HTTP, nor what a file says.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tokenyard.jobs.batches.folder import FileFolder, Writing
from tokenyard.jobs.batches.ports import FileStore
from tokenyard.jobs.batches.records import Purpose, StoredFile
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.settings import FileSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import BodyTooLarge, NotFound, TokenyardError, Unavailable
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import FileId, IdPrefix, ProjectId
from tokenyard.vocabulary.reasons import Reason

_SWEPT_AT_ONCE = 100
_BUSY_RETRY_SECONDS = 2.0


class Upload:
    """Bytes that come in; `finish` makes a file of them, and else nothing stays."""

    def __init__(self, files: "Files", caller: Principal, id: FileId, writing: Writing) -> None:
        self._files = files
        self._caller = caller
        self._id = id
        self._writing = writing
        self._finished = False

    async def write(self, data: bytes) -> None:
        """Add bytes; raises BodyTooLarge as soon as they are too many."""
        self._files.count_upload(self._caller.project, self._writing.size, len(data))
        await self._writing.write(data)

    async def finish(
        self, *, filename: str, purpose: Purpose, kept_seconds: int | None
    ) -> StoredFile:
        """Store the file; raises BodyTooLarge when the project's files are too many bytes."""
        await self._writing.finish()
        try:
            stored = await self._files.store(
                self._caller,
                self._id,
                filename=filename,
                purpose=purpose,
                size=self._writing.size,
                kept_seconds=kept_seconds,
            )
        except TokenyardError:
            await self._files.folder.remove(self._id)
            raise
        self._finished = True
        return stored

    async def drop(self) -> None:
        """Forget the bytes unless they became a file."""
        self._files.forget_upload(self._caller.project, self._writing.size)
        if not self._finished:
            await self._writing.drop()


class Files:
    """All files; one of another project does not exist for a caller."""

    def __init__(
        self,
        store: FileStore,
        folder: FileFolder,
        settings: FileSettings,
        *,
        clock: Clock,
        randomness: Randomness,
        log: Log,
        metrics: GatewayMetrics,
    ) -> None:
        self._store = store
        self.folder = folder
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._metrics = metrics
        self._uploads = 0
        # Bytes of uploads in progress, by project.
        self._arriving: dict[ProjectId, int] = {}
        # Bytes that were stored when an upload of the project began.
        self._stored: dict[ProjectId, int] = {}

    @property
    def silence_seconds(self) -> float:
        """How long an upload may send nothing."""
        return self._settings.silence_seconds

    async def start(self) -> None:
        """Sweep what a crash left; before the first upload."""
        removed = await self.folder.sweep(await self._store.file_ids())
        if removed:
            self._log.info(Event.FILES_SWEPT, unknown=removed)

    async def keep_swept(self) -> None:
        """Delete files whose time has passed, for ever."""
        while True:
            try:
                await self.sweep()
            except TokenyardError as error:
                self._log.error(Event.STORAGE_FAILED, error)
            await self._clock.sleep(self._settings.sweep_seconds)

    async def sweep(self) -> None:
        """Delete files whose time has passed."""
        while True:
            expired = await self._store.expired_files(self._clock.now(), limit=_SWEPT_AT_ONCE)
            for file in expired:
                if await self._store.delete_file(file.id, file.project):
                    await self.folder.remove(file.id)
            if expired:
                self._log.info(Event.FILES_SWEPT, expired=len(expired))
            if len(expired) < _SWEPT_AT_ONCE:
                return

    @asynccontextmanager
    async def take_in(self, caller: Principal) -> AsyncIterator[Upload]:
        """Take an upload while the context lasts; raises Unavailable when too many are coming."""
        if self._uploads >= self._settings.uploads_max:
            raise Unavailable(
                f"{self._uploads} files are being uploaded, which is the limit.",
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )
        self._uploads += 1
        try:
            self._stored[caller.project] = await self._store.stored_bytes(caller.project)
            file = FileId(mint(IdPrefix.FILE, self._randomness))
            upload = Upload(self, caller, file, self.folder.write(file))
            try:
                yield upload
            finally:
                await upload.drop()
        finally:
            self._uploads -= 1

    def count_upload(self, project: ProjectId, before: int, more: int) -> None:
        """Book bytes that arrive, so that uploads at the same time share the project's room."""
        if before + more > self._settings.file_bytes_max:
            raise BodyTooLarge(
                f"The file is longer than {self._settings.file_bytes_max} bytes.",
                reason=Reason.FILE_TOO_LARGE,
                param="file",
            )
        arriving = self._arriving.get(project, 0) + more
        if self._stored.get(project, 0) + arriving > self._settings.project_bytes_max:
            raise self._too_much()
        self._arriving[project] = arriving

    def forget_upload(self, project: ProjectId, size: int) -> None:
        """An upload has ended; its bytes are stored or gone."""
        left = self._arriving.get(project, 0) - size
        if left > 0:
            self._arriving[project] = left
        else:
            self._arriving.pop(project, None)
            self._stored.pop(project, None)

    async def store(
        self,
        caller: Principal,
        id: FileId,
        *,
        filename: str,
        purpose: Purpose,
        size: int,
        kept_seconds: int | None,
    ) -> StoredFile:
        """Write down a file whose bytes lie in the folder."""
        now = self._clock.now()
        file = StoredFile(
            id=id,
            project=caller.project,
            user=caller.user,
            filename=filename,
            purpose=purpose,
            bytes=size,
            created_at=now,
            expires_at=None if kept_seconds is None else now + kept_seconds,
        )
        most = self._settings.project_bytes_max
        if not await self._store.add_file(file, project_bytes_max=most):
            raise self._too_much()
        self._metrics.file_bytes.labels("in").inc(size)
        return file

    async def get(self, caller: Principal, id: FileId) -> StoredFile:
        """The file; raises NotFound."""
        file = await self._store.find_file(id, caller.project)
        if file is None or self._is_over(file):
            raise _no_file(id)
        return file

    async def page(
        self,
        caller: Principal,
        *,
        purpose: Purpose | None,
        limit: int,
        after: FileId | None,
        newest_first: bool,
    ) -> tuple[list[StoredFile], bool]:
        """Files of the caller's project, and whether there are more."""
        found = await self._store.list_files(
            caller.project,
            purpose=purpose,
            limit=limit + 1,
            after=after,
            newest_first=newest_first,
        )
        return [file for file in found[:limit] if not self._is_over(file)], len(found) > limit

    async def locate(self, caller: Principal, id: FileId) -> tuple[StoredFile, Path]:
        """The file and where its bytes lie; raises NotFound."""
        file = await self.get(caller, id)
        if not await self.folder.has(id):
            raise NotFound(
                f"The bytes of the file '{id}' are gone.", reason=Reason.FILE_LOST, param="file_id"
            )
        self._metrics.file_bytes.labels("out").inc(file.bytes)
        return file, self.folder.path_of(id)

    async def delete(self, caller: Principal, id: FileId) -> None:
        """Delete it; raises NotFound, or Conflict while a batch reads it."""
        await self.get(caller, id)
        if not await self._store.delete_file(id, caller.project):
            raise _no_file(id)
        await self.folder.remove(id)

    def _is_over(self, file: StoredFile) -> bool:
        return file.expires_at is not None and file.expires_at <= self._clock.now()

    def _too_much(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The files of this project would be more than "
            f"{self._settings.project_bytes_max} bytes. Delete some first.",
            reason=Reason.FILE_STORAGE_LIMIT,
            param="file",
        )


def _no_file(id: str) -> NotFound:
    return NotFound(f"There is no file '{id}'.", param="file_id")
