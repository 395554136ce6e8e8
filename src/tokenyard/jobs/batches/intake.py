"""Reading an input file: what each line asks for, and what is wrong with it, by line number.

A line's body is checked by the very structs that check an online request. Nothing is run and
nothing is stored here; whether the model exists is the caller's to find out.
"""

from dataclasses import dataclass

import msgspec

from tokenyard.jobs.batches.folder import FileFolder, Place, RawLine
from tokenyard.jobs.batches.records import LineFault
from tokenyard.protocol.batches import LineRequest
from tokenyard.protocol.chat_completions import (
    ChatCompletionRequest,
    CompletionRequest,
    check_stream_options,
    refuse_priority,
)
from tokenyard.protocol.decode import decode_request
from tokenyard.runtime.settings import BatchSettings
from tokenyard.upstreams.ports import GenerationPath
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import FileId, ModelName
from tokenyard.vocabulary.reasons import Reason

Asked = ChatCompletionRequest | CompletionRequest

_KINDS: dict[str, tuple[GenerationPath, type[Asked]]] = {
    "/v1/chat/completions": (GenerationPath.CHAT, ChatCompletionRequest),
    "/v1/completions": (GenerationPath.TEXT, CompletionRequest),
}
ENDPOINTS = tuple(_KINDS)


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch. `body` is the JSON as it stands in the file."""

    number: int
    custom_id: str
    model: ModelName
    path: GenerationPath
    body: bytes
    # The most tokens of the answer; None when the model's window is the only bound.
    tokens_max: int | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What an input file holds. Without faults it can be run."""

    total: int
    # Of all lines; None when there is no readable line.
    model: ModelName | None
    faults: tuple[LineFault, ...]


def check_endpoint(endpoint: str) -> None:
    """Raise InvalidRequest unless batches can be run for that endpoint."""
    if endpoint not in _KINDS:
        raise InvalidRequest(
            f"Batches are not served for the endpoint '{endpoint}'; "
            f"they are for {' and '.join(ENDPOINTS)}.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param="endpoint",
        )


def read_line(raw: RawLine, endpoint: str) -> Line:
    """What the line asks for; raises InvalidRequest with the field at fault."""
    if raw.data is None:
        raise InvalidRequest("The line is too long.", reason=Reason.LINE_TOO_LONG)
    told = decode_request(LineRequest, raw.data)
    if told.url != endpoint:
        raise InvalidRequest(
            f"The line is for '{told.url}', the batch for '{endpoint}'.",
            reason=Reason.MISMATCHED_URL,
            param="url",
        )
    path, kind = _KINDS[endpoint]
    body = bytes(told.body)
    try:
        asked = decode_request(kind, body)
        _check_asked(asked)
    except InvalidRequest as error:
        raise InvalidRequest(
            error.message,
            reason=error.reason,
            param="body" if error.param is None else f"body.{error.param}",
        ) from None
    tokens_max = asked.sampling().max_tokens
    return Line(raw.number, told.custom_id, ModelName(asked.model), path, body, tokens_max)


def read_custom_id(raw: RawLine) -> str:
    """The line's name as far as it can be read; for lines that are not run."""
    try:
        return msgspec.json.decode(raw.data or b"", type=_Named).custom_id
    except msgspec.MsgspecError:
        return ""


class _Named(msgspec.Struct):
    custom_id: str


async def check_input(
    folder: FileFolder, file: FileId, endpoint: str, settings: BatchSettings
) -> Checked:
    """Read the whole file and list what is wrong with it; raises FileNotFoundError.

    Reading stops at `errors_max` faults, or after `lines_max` lines.
    """
    checking = _Checking(endpoint, settings)
    place: Place | None = Place()
    while place is not None and not checking.full:
        lines, place = await folder.read_lines(file, place, line_bytes_max=settings.line_bytes_max)
        for raw in lines:
            checking.take(raw)
            if checking.full:
                break
    return checking.result()


class _Checking:
    """What is known of a file that is being read."""

    def __init__(self, endpoint: str, settings: BatchSettings) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._faults: list[LineFault] = []
        # Each name and the line that has it.
        self._names: dict[str, int] = {}
        self._model: ModelName | None = None
        self._total = 0
        self.full = False

    def take(self, raw: RawLine) -> None:
        """Look at the next line."""
        if self._total == self._settings.lines_max:
            self._add(
                Reason.TOO_MANY_LINES,
                f"A batch holds at most {self._settings.lines_max} requests.",
                raw.number,
            )
            self.full = True
            return
        self._total += 1
        try:
            line = read_line(raw, self._endpoint)
        except InvalidRequest as error:
            message = error.message
            if error.reason is Reason.LINE_TOO_LONG:
                message = f"The line is longer than {self._settings.line_bytes_max} bytes."
            self._add(error.reason, message, raw.number, error.param)
            return
        first = self._names.setdefault(line.custom_id, line.number)
        if first != line.number:
            self._add(
                Reason.DUPLICATE_CUSTOM_ID,
                f"Line {first} has the same custom_id.",
                line.number,
                "custom_id",
            )
        if self._model is None:
            self._model = line.model
        elif line.model != self._model:
            self._add(
                Reason.MISMATCHED_MODEL,
                f"The line is for the model '{line.model}', the first one for '{self._model}'.",
                line.number,
                "body.model",
            )

    def result(self) -> Checked:
        """What was found."""
        if not self._total:
            self._add(Reason.EMPTY_FILE, "The file holds no requests.", None)
        return Checked(self._total, self._model, tuple(self._faults))

    def _add(self, code: Reason, message: str, line: int | None, param: str | None = None) -> None:
        self._faults.append(LineFault(code, message, param, line))
        self.full = self.full or len(self._faults) >= self._settings.errors_max


def _check_asked(asked: Asked) -> None:
    refuse_priority(asked)
    if asked.stream:
        raise InvalidRequest(
            "A line of a batch is answered whole.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param="stream",
        )
    check_stream_options(asked)
    if isinstance(asked, ChatCompletionRequest) and asked.service_tier in ("flex", "priority"):
        raise InvalidRequest(
            "A line of a batch has the tier of batches.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param="service_tier",
        )
