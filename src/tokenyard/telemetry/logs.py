"""Structured logs: one JSON object a line, with an event name that is declared here.

Prompts, answers and keys never reach a log. On a terminal the same events are written as text.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

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
    BUDGET_WARNING = "budget.warning"
    WEBHOOK_FAILED = "webhook.failed"
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
        self, stream: Sink, clock: Clock, *, level: str = "info", text: bool = False
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._threshold = _LEVELS[level]
        self._text = text

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
        if self._text:
            details = " ".join(f"{key}={value}" for key, value in fields.items())
            line = f"{level:7} {event} {details}".rstrip()
        else:
            stamp = round(self._clock.now(), 3)
            line = json.dumps(
                {"time": stamp, "level": level, "event": event, **fields}, default=str
            )
        self._stream.write(line + "\n")
        self._stream.flush()


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


def open_log(clock: Clock, level: str, stream: TextIO | None = None) -> Log:
    """A log on standard error (or `stream`): JSON in files and pipes, text on a terminal."""
    stream = stream or sys.stderr
    return Log(stream, clock, level=level, text=stream.isatty())


class _RotatingFile:
    """A text file that moves itself aside when it has grown too long."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._bytes_max = bytes_max
        self._file = path.open("a", encoding="utf-8")
        self._size = self._file.tell()

    def write(self, text: str) -> None:
        self._file.write(text)
        self._size += len(text)
        if self._size > self._bytes_max:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("a", encoding="utf-8")
            self._size = 0

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@contextmanager
def open_log_file(path: Path, clock: Clock, settings: LogSettings) -> Iterator[Log]:
    """A log in that file, or on standard error when the settings say so."""
    if settings.target == "stderr":
        yield open_log(clock, settings.level)
        return
    file = _RotatingFile(path, settings.file_bytes_max)
    try:
        yield Log(file, clock, level=settings.level)
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
