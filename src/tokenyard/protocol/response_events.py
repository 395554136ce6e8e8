"""The events of a streamed response, as OpenAI's Responses API names and shapes them.

Every event carries a contiguous `sequence_number`; its `type` is also the `event:` of the frame.
Source: OpenAI API reference, `ResponseStreamEvent`.
"""

from typing import Any

import msgspec
from msgspec import field

from tokenyard.protocol.response_items import ItemBody, OutputText, ReasoningText
from tokenyard.protocol.responses import ResponseBody


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
    """An item of the answer begins: a message, a thought or a call."""

    item: ItemBody
    output_index: int = 0


class ContentPartAdded(_Event, kw_only=True, tag="response.content_part.added"):
    """The text of a message or thought begins."""

    item_id: str
    part: OutputText | ReasoningText
    output_index: int = 0
    content_index: int = 0


class OutputTextDelta(_Event, kw_only=True, tag="response.output_text.delta"):
    """The text goes on by `delta`."""

    item_id: str
    delta: str
    output_index: int = 0
    content_index: int = 0
    logprobs: list[Any] = field(default_factory=list)


class ReasoningTextDelta(_Event, kw_only=True, tag="response.reasoning_text.delta"):
    """The thought goes on by `delta`."""

    item_id: str
    delta: str
    output_index: int = 0
    content_index: int = 0


class FunctionCallArgumentsDelta(
    _Event, kw_only=True, tag="response.function_call_arguments.delta"
):
    """The JSON text of a call's arguments goes on by `delta`."""

    item_id: str
    delta: str
    output_index: int = 0


class ResponseReset(_Event, kw_only=True, tag="response.reset"):
    """Ours: the answer so far is void; it was begun anew elsewhere and now is `output`.

    item_id and text: those of its message, for readers who show nothing else.
    """

    item_id: str
    text: str
    output: list[ItemBody] = field(default_factory=list)


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


class ReasoningTextDone(_Event, kw_only=True, tag="response.reasoning_text.done"):
    """The thought is whole."""

    item_id: str
    text: str
    output_index: int = 0
    content_index: int = 0


class FunctionCallArgumentsDone(_Event, kw_only=True, tag="response.function_call_arguments.done"):
    """The call is whole."""

    item_id: str
    name: str
    arguments: str
    output_index: int = 0


class ContentPartDone(_Event, kw_only=True, tag="response.content_part.done"):
    """The text of a message or thought ended."""

    item_id: str
    part: OutputText | ReasoningText
    output_index: int = 0
    content_index: int = 0


class OutputItemDone(_Event, kw_only=True, tag="response.output_item.done"):
    """An item of the answer ended."""

    item: ItemBody
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
    | ReasoningTextDelta
    | FunctionCallArgumentsDelta
    | ResponseReset
    | ResponseResync
    | OutputTextDone
    | ReasoningTextDone
    | FunctionCallArgumentsDone
    | ContentPartDone
    | OutputItemDone
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
)


# Text that an item goes on by.
ItemDelta = OutputTextDelta | ReasoningTextDelta | FunctionCallArgumentsDelta


def event_type(event: ResponseEvent) -> str:
    """The event's type, such as `response.completed`."""
    return str(event.__struct_config__.tag)
