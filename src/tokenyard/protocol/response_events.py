"""The events of a streamed response, as OpenAI's Responses API names and shapes them.

Every event carries a contiguous `sequence_number`; its `type` is also the `event:` of the frame.
Source: OpenAI API reference, `ResponseStreamEvent`.
"""

from typing import Any

import msgspec
from msgspec import field

from tokenyard.protocol.responses import MessageBody, OutputText, ResponseBody


class _Event(msgspec.Struct, kw_only=True, tag_field="type"):
    """What all events have; the tag is their type."""

    # Given by the log that the event is appended to.
    sequence_number: int = 0


class ResponseCreated(_Event, kw_only=True, tag="response.created"):
    """The response exists."""

    response: ResponseBody


class ResponseInProgress(_Event, kw_only=True, tag="response.in_progress"):
    """The response is being worked on."""

    response: ResponseBody


class OutputItemAdded(_Event, kw_only=True, tag="response.output_item.added"):
    """The answer's message begins."""

    item: MessageBody
    output_index: int = 0


class ContentPartAdded(_Event, kw_only=True, tag="response.content_part.added"):
    """The message's text begins."""

    item_id: str
    part: OutputText
    output_index: int = 0
    content_index: int = 0


class OutputTextDelta(_Event, kw_only=True, tag="response.output_text.delta"):
    """The text goes on by `delta`."""

    item_id: str
    delta: str
    output_index: int = 0
    content_index: int = 0
    logprobs: list[Any] = field(default_factory=list)


class ResponseReset(_Event, kw_only=True, tag="response.reset"):
    """Ours: the text so far is void; it was begun anew elsewhere and now is `text`."""

    item_id: str
    text: str
    output_index: int = 0
    content_index: int = 0


class ResponseResync(_Event, kw_only=True, tag="response.resync"):
    """Ours: the reader starts anew from this picture of the answer up to `sequence_number`.

    Sent to who asks for it (`snapshot=true`), and to a cursor that does not lead on.
    """

    response: ResponseBody


class OutputTextDone(_Event, kw_only=True, tag="response.output_text.done"):
    """The text is whole."""

    item_id: str
    text: str
    output_index: int = 0
    content_index: int = 0
    logprobs: list[Any] = field(default_factory=list)


class ContentPartDone(_Event, kw_only=True, tag="response.content_part.done"):
    """The message's text ended."""

    item_id: str
    part: OutputText
    output_index: int = 0
    content_index: int = 0


class OutputItemDone(_Event, kw_only=True, tag="response.output_item.done"):
    """The answer's message ended."""

    item: MessageBody
    output_index: int = 0


class ResponseCompleted(_Event, kw_only=True, tag="response.completed"):
    """The last event of an answer that came to its end."""

    response: ResponseBody


class ResponseIncomplete(_Event, kw_only=True, tag="response.incomplete"):
    """The last event of an answer that was cut off by a limit or by its reader."""

    response: ResponseBody


class ResponseFailed(_Event, kw_only=True, tag="response.failed"):
    """The last event of an answer that broke."""

    response: ResponseBody


ResponseEvent = (
    ResponseCreated
    | ResponseInProgress
    | OutputItemAdded
    | ContentPartAdded
    | OutputTextDelta
    | ResponseReset
    | ResponseResync
    | OutputTextDone
    | ContentPartDone
    | OutputItemDone
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
)


def event_type(event: ResponseEvent) -> str:
    """The event's type, such as `response.completed`."""
    return str(event.__struct_config__.tag)
