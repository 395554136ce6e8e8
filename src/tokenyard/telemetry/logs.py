"""Structured logs: one JSON object a line, with an event name that is declared here.

Prompts, answers and keys never reach a log. On a terminal the same events are written as text.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

import msgspec

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import LogSettings

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Event(StrEnum):
    """Every event that may appear in a log."""

    STARTED = "process.started"
    STOPPING = "process.stopping"
    STOPPED = "process.stopped"
    TASK_FAILED = "task.failed"
    LIBRARY_MESSAGE = "library.message"
    REQUEST_DONE = "request.done"
    REQUEST_FAILED = "request.failed"
    REPLICA_STARTING = "replica.starting"
    REPLICA_READY = "replica.ready"
    REPLICA_DIED = "replica.died"
    REPLICA_LOST = "replica.lost"
    REPLICA_SILENT = "replica.silent"
    MODEL_LOADED = "model.loaded"
    ENGINE_STEP_FAILED = "engine.step_failed"
    RESPONSE_DONE = "response.done"
    RESPONSE_TAKEN = "response.taken"
    RESPONSE_FENCED = "response.fenced"
    RESPONSE_HANDED_OVER = "response.handed_over"
    RESPONSE_CONTINUED = "response.continued"
    STREAM_APPEND_FAILED = "stream.append_failed"
    STREAM_FOLLOW_FAILED = "stream.follow_failed"
    READER_CLOSED = "reader.closed"
    LEDGER_SETTLED = "ledger.settled"
    LEDGER_RELEASED = "ledger.released"
    # Conversations and responses whose time was over.
    CHATS_SWEPT = "chats.swept"
    # A conversation stays without a title.
    TITLE_FAILED = "title.failed"
    # A bill whose id the ledger already held: the same bill again, or an id given out twice.
    LEDGER_DUPLICATE = "ledger.duplicate"
    # A bill that the store did not take; the fields are all of the row, so that nothing is lost.
    LEDGER_UNWRITTEN = "ledger.unwritten"
    # A reservation or its release did not get into the journal.
    LEDGER_UNENTERED = "ledger.unentered"
    # The store was away when this process had to say that it lives, or to read budgets.
    LEDGER_UNHEARD = "ledger.unheard"
    LIMITS_AWAY = "limits.away"
    LIMITS_BACK = "limits.back"
    LIMITS_UNREAD = "limits.unread"
    SERVERS_UNREAD = "servers.unread"
    BUDGET_WARNING = "budget.warning"
    WEBHOOK_FAILED = "webhook.failed"
    MODERATION_AWAY = "moderation.away"
    BATCH_CHANGED = "batch.changed"
    BATCH_FAILED = "batch.failed"
    BATCH_LINE_FAILED = "batch.line_failed"
    FILES_SWEPT = "files.swept"
    JOBS_SUBMITTED = "jobs.submitted"
    JOBS_CYCLE_FAILED = "jobs.cycle_failed"
    JOBS_FENCED = "jobs.fenced"
    JOBS_CLERK_FAILED = "jobs.clerk_failed"
    JOBS_FORGOTTEN = "jobs.forgotten"
    NODE_QUARANTINED = "jobs.node_quarantined"
    NODE_WITHOUT_GPUS = "jobs.node_without_gpus"
    NODE_SILENT = "jobs.node_silent"
    STORAGE_FAILED = "storage.failed"
    STORAGE_LOST = "storage.lost"
    STORAGE_FOUND = "storage.found"
    MIGRATED = "storage.migrated"


class Sink(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Take a line."""
        ...

    def flush(self) -> None:
        """Hand it on."""
        ...


class Log:
    """Writes events to a stream; cheap enough to pass to every room."""

    def __init__(
        self,
        stream: Sink,
        clock: Clock,
        *,
        level: str = "info",
        text: bool = False,
        hidden: Collection[str] = (),
    ) -> None:
        """hidden: names of fields that are left out of every line."""
        self._stream = stream
        self._clock = clock
        self._threshold = _LEVELS[level]
        self._text = text
        self._hidden = frozenset(hidden)

    def debug(self, event: Event, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: Event, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: Event, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: Event, error: BaseException | None = None, **fields: Any) -> None:
        if error is not None:
            fields["error"] = f"{type(error).__name__}: {error}"
            if error.__traceback__ is not None:
                fields["at"] = _last_frames(error)
        self._write("error", event, fields)

    def task_failed(self, name: str, error: BaseException) -> None:
        """Fits `TaskSupervisor(failed=...)`."""
        self.error(Event.TASK_FAILED, error, task=name)

    def _write(self, level: str, event: Event, fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self._threshold:
            return
        if self._hidden:
            fields = {name: told for name, told in fields.items() if name not in self._hidden}
        if self._text:
            details = " ".join(f"{key}={value}" for key, value in fields.items())
            line = f"{level:7} {event} {details}".rstrip()
        else:
            stamp = round(self._clock.now(), 3)
            line = _spell({"time": stamp, "level": level, "event": event, **fields})
        self._stream.write(line + "\n")
        self._stream.flush()


def _spell(fields: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(fields, enc_hook=str).decode()
    except (UnicodeEncodeError, TypeError):
        # Half a character of a client's, or a key that is no text: a log takes everything.
        return json.dumps(fields, default=str)


class _Bridge(logging.Handler):
    """Brings the warnings of libraries into our log."""

    def __init__(self, log: Log) -> None:
        super().__init__(level=logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._log.error(Event.LIBRARY_MESSAGE, error, library=record.name, message=message)
        else:
            self._log.warning(Event.LIBRARY_MESSAGE, library=record.name, message=message)


def bridge_library_logs(log: Log) -> None:
    """Send what libraries log through the standard `logging` module to our log, warnings and up."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Bridge(log))


def open_log(
    clock: Clock, level: str, stream: TextIO | None = None, *, hidden: Collection[str] = ()
) -> Log:
    """A log on standard error (or `stream`): JSON in files and pipes, text on a terminal."""
    stream = stream or sys.stderr
    return Log(stream, clock, level=level, text=stream.isatty(), hidden=hidden)


class _RotatingFile:
    """A text file that moves itself aside when it is too long or too old; old ones are deleted."""

    def __init__(self, path: Path, clock: Clock, settings: LogSettings) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._clock = clock
        self._settings = settings
        self._since = path.stat().st_mtime if path.exists() else clock.now()
        self._file = path.open("a", encoding="utf-8")
        self._size = self._file.tell()
        self._flushing = False
        self._delete_old()

    def write(self, text: str) -> None:
        self._file.write(text)
        self._size += len(text)
        settings = self._settings
        old = self._clock.now() - self._since >= settings.file_seconds
        if self._size > settings.file_bytes_max or old:
            self._file.close()
            self._move_aside()
            self._delete_old()
            self._file = self._path.open("a", encoding="utf-8")
            self._size, self._since = 0, self._clock.now()

    def _move_aside(self) -> None:
        """`….1` becomes `….2`, and so on; the last one is written over."""
        for number in range(self._settings.files_kept - 1, 0, -1):
            if self._aside(number).exists():
                self._aside(number).replace(self._aside(number + 1))
        self._path.replace(self._aside(1))

    def _delete_old(self) -> None:
        oldest = self._clock.now() - self._settings.kept_seconds
        for aside in self._path.parent.glob(f"{self._path.name}.*"):
            number = aside.name.removeprefix(f"{self._path.name}.")
            if not number.isdigit():
                continue
            if int(number) > self._settings.files_kept or aside.stat().st_mtime < oldest:
                aside.unlink(missing_ok=True)

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def flush(self) -> None:
        """Soon: the lines of one turn of the loop are handed to the system together."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._file.flush()
            return
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        self._file.close()


@contextmanager
def open_log_file(path: Path, clock: Clock, settings: LogSettings) -> Iterator[Log]:
    """A log in that file, or on standard error when the settings say so."""
    if settings.target == "stderr":
        yield open_log(clock, settings.level, hidden=settings.hidden_fields)
        return
    file = _RotatingFile(path, clock, settings)
    try:
        yield Log(file, clock, level=settings.level, hidden=settings.hidden_fields)
    finally:
        file.close()


def _last_frames(error: BaseException, frames_max: int = 4) -> str:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(frames[-frames_max:]))
