"""Records as the wire shows them: conversations, messages and responses in OpenAI's form."""

from typing import Final, Literal

from tokenyard.chat.records import Conversation, Item, Response, ResponseStatus
from tokenyard.protocol.chat_completions import Timings
from tokenyard.protocol.responses import (
    ConversationBody,
    ConversationReference,
    Cost,
    IncompleteDetails,
    InputTextBody,
    MessageBody,
    OutputText,
    ResponseBody,
    ResponseErrorBody,
    ResponseUsage,
)
from tokenyard.vocabulary.ids import ResponseId
from tokenyard.vocabulary.messages import Role

MAX_OUTPUT_TOKENS: Final = "max_output_tokens"

Progress = Literal["in_progress", "completed", "incomplete"]


def render_conversation(
    conversation: Conversation, active: ResponseId | None = None
) -> ConversationBody:
    """A conversation; `active` is the response that is being written in it."""
    return ConversationBody(
        id=conversation.id,
        created_at=int(conversation.created_at),
        updated_at=int(conversation.updated_at),
        metadata=conversation.metadata,
        active_response_id=active,
    )


def render_item(item: Item, progress: Progress | None = None) -> MessageBody:
    """A message; what the assistant wrote is output, everything else is input."""
    part = (
        OutputText(text=item.text) if item.role is Role.ASSISTANT else InputTextBody(text=item.text)
    )
    body = MessageBody(
        id=item.id,
        role=item.role,
        status=progress or ("completed" if item.complete else "incomplete"),
        content=[part],
    )
    if item.response is not None:
        body.response_id = item.response
    return body


def render_response(
    response: Response, currency: str, timings: Timings | None = None
) -> ResponseBody:
    """A response in whatever state it is."""
    body = ResponseBody(
        id=response.id,
        created_at=int(response.created_at),
        status=response.status.value,
        model=response.model,
        output=[] if response.output is None else [render_item(response.output)],
        instructions=response.instructions,
        metadata=response.metadata,
        temperature=response.sampling.temperature,
        top_p=response.sampling.top_p,
        max_output_tokens=response.sampling.max_tokens,
        conversation=(
            None if response.conversation is None else ConversationReference(response.conversation)
        ),
    )
    if response.finished_at is not None:
        body.completed_at = int(response.finished_at)
    if response.usage is not None:
        body.usage = ResponseUsage.of(response.usage)
    if response.cost_nanos is not None:
        body.cost = Cost(nanos=response.cost_nanos, currency=currency)
    if timings is not None:
        body.timings = timings
    if response.status is ResponseStatus.INCOMPLETE:
        body.incomplete_details = IncompleteDetails(MAX_OUTPUT_TOKENS)
    if response.status is ResponseStatus.FAILED:
        body.error = ResponseErrorBody(
            code="server_error",
            message=response.error_message or "The answer could not be finished.",
            reason=response.error_reason or "",
        )
    return body
