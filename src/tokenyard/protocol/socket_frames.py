"""The frames of a WebSocket to `/v1/responses`: what a client sends, and what only a socket gets.

Source: OpenAI API reference, "WebSocket events" (`response.create`, `stream_id`, `error`). Acks,
`response.resume`, `response.cancel` and `response.ended` are ours. All other frames from us are the
events of `response_events`, byte for byte, with `stream_id` put in front where one was given.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.response_events import ResponseEvent
from tokenyard.protocol.response_items import Word
from tokenyard.protocol.responses import CreateResponseRequest
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason

CREATE = "response.create"
Place = Annotated[int, Meta(ge=0, le=2**31)]
_ENVELOPE = ("type", "stream_id", "acks", "idempotency_key")


class ResponseCreateFrame(CreateResponseRequest, kw_only=True, tag_field="type", tag=CREATE):
    """Ask for an answer: the body of `POST /v1/responses`, and how it is to be sent.

    stream_id: answers of one stream come one after the other, those of several side by side. acks:
    the client will send `ack` frames.
    """

    stream_id: Word | None = None
    acks: bool = False
    idempotency_key: Word | None = None


class _Frame(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What other frames have in common."""


class ResponseResumeFrame(_Frame, kw_only=True, tag="response.resume"):
    """Read an answer on, strictly after the event `starting_after`, or from its beginning."""

    response_id: Word
    starting_after: Place | None = None
    # Begin with the answer so far (`response.resync`) instead of all its events.
    snapshot: bool = False
    stream_id: Word | None = None
    acks: bool = False


class ResponseCancelFrame(_Frame, kw_only=True, tag="response.cancel"):
    """Stop an answer and keep what there is of it; its last event says so."""

    response_id: Word
    stream_id: Word | None = None


class AckFrame(_Frame, kw_only=True, tag="ack"):
    """All events up to `sequence_number` have arrived."""

    response_id: Word
    sequence_number: Place
    stream_id: Word | None = None


ClientFrame = ResponseCreateFrame | ResponseResumeFrame | ResponseCancelFrame | AckFrame


class SocketError(msgspec.Struct, kw_only=True, tag_field="type", tag="error"):
    """A frame could not be served: the status and the error body that a request would have got."""

    status: int
    error: dict[str, Any]
    stream_id: str | None = None


class ResponseEnded(msgspec.Struct, kw_only=True, tag_field="type", tag="response.ended"):
    """Ours: the answer that was to be resumed has nothing more to send."""

    response_id: str
    stream_id: str | None = None


ServerFrame = ResponseEvent | SocketError | ResponseEnded


class CreateOrder(msgspec.Struct):
    """A `response.create` frame, taken apart: the request's body, and how to send its answer."""

    body: bytes
    stream_id: str | None = None
    acks: bool = False
    idempotency_key: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Envelope(msgspec.Struct, kw_only=True):
    stream_id: Word | None = None
    acks: bool = False
    idempotency_key: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None


SmallFrame = ResponseResumeFrame | ResponseCancelFrame | AckFrame
_KNOWN = "response.create, response.resume, response.cancel and ack"
_TYPES = {"response.resume", "response.cancel", "ack"}


def read_frame(data: bytes) -> CreateOrder | SmallFrame:
    """Read one text message; raises InvalidRequest with what is wrong with it.

    The body of a create frame is not read here: whoever answers the request does that.
    """
    kind = decode_request(_Kind, data).type
    if kind == CREATE:
        return _read_create(data)
    if kind not in _TYPES:
        raise InvalidRequest(
            f"'type' must be one of {_KNOWN}.", reason=Reason.INVALID_VALUE, param="type"
        )
    # mypy takes a union for something else than a type.
    frame: SmallFrame = decode_request(SmallFrame, data)  # type: ignore[arg-type]
    return frame


def lane_of(data: bytes) -> str | None:
    """The `stream_id` of a frame that is wrong otherwise, so that its error names it."""
    try:
        return msgspec.json.decode(data, type=_Envelope).stream_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _read_create(data: bytes) -> CreateOrder:
    envelope = decode_request(_Envelope, data)
    fields = decode_request(dict[str, msgspec.Raw], data)
    for name in _ENVELOPE:
        fields.pop(name, None)
    fields["stream"] = msgspec.Raw(b"true")
    return CreateOrder(
        msgspec.json.encode(fields), envelope.stream_id, envelope.acks, envelope.idempotency_key
    )


class ErrorTold(msgspec.Struct):
    """The body of an error answer, as the gateway gave it to a request."""

    error: dict[str, Any] = field(default_factory=dict)
