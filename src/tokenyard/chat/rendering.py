"""Records as the wire shows them: conversations, items and responses in OpenAI's form."""

from collections.abc import Sequence
from typing import Final, TypeVar

from msgspec import UNSET

from tokenyard.chat.records import Conversation, Item, ItemKind, Node, Response, ResponseStatus
from tokenyard.protocol.chat_completions import Timings
from tokenyard.protocol.conversations import ConversationBody, ConversationTree, TreeNode
from tokenyard.protocol.response_items import (
    FunctionCallBody,
    FunctionOutputBody,
    InputFileBody,
    InputTextBody,
    ItemBody,
    ItemStatus,
    MessageBody,
    OutputText,
    ReasoningBody,
    ReasoningText,
)
from tokenyard.protocol.responses import (
    ConversationReference,
    Cost,
    IncompleteDetails,
    PromptBody,
    ResponseBody,
    ResponseErrorBody,
    ResponseUsage,
    ThinkingBody,
)
from tokenyard.vocabulary.generation import Pace
from tokenyard.vocabulary.ids import ResponseId
from tokenyard.vocabulary.messages import Role

Body = TypeVar("Body", bound=ItemBody)

MAX_OUTPUT_TOKENS: Final = "max_output_tokens"
CONTENT_FILTER: Final = "content_filter"
# Ends of a generation that leave an answer incomplete, in the words of responses.
INCOMPLETE_REASONS: Final = {"length": MAX_OUTPUT_TOKENS, "content_filter": CONTENT_FILTER}


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
        title=conversation.title,
        title_by=conversation.title_by.value,
        folder=conversation.folder,
        pinned=conversation.pinned,
        archived=conversation.archived,
        leaf_id=conversation.leaf,
    )


def render_tree(
    conversation: Conversation, nodes: Sequence[Node], cost_nanos: int
) -> ConversationTree:
    """The shape of a conversation, and what it has cost."""
    return ConversationTree(
        conversation_id=conversation.id,
        leaf_id=conversation.leaf,
        nodes=[
            TreeNode(
                id=node.id,
                parent_id=node.parent,
                role=node.role,
                kind=node.kind,
                status="completed" if node.complete else "incomplete",
                created_at=int(node.created_at),
                response_id=node.response,
            )
            for node in nodes
        ],
        cost_nanos=cost_nanos,
    )


def render_item(item: Item, status: ItemStatus | None = None) -> ItemBody:
    """An item; its status is that of the record where none is given."""
    body: ItemBody
    told = status or _status(item)
    call_id = "" if item.call is None else item.call.id
    match item.kind:
        case ItemKind.FUNCTION_CALL:
            name = "" if item.call is None else item.call.name
            body = FunctionCallBody(
                id=item.id, status=told, call_id=call_id, name=name, arguments=item.text
            )
        case ItemKind.FUNCTION_OUTPUT:
            body = FunctionOutputBody(id=item.id, status=told, call_id=call_id, output=item.text)
        case ItemKind.REASONING:
            thought = [ReasoningText(text=item.text)]
            body = ReasoningBody(id=item.id, status=told, content=thought)
        case _:
            return render_message(item, status)
    return _place(body, item)


def render_message(item: Item, status: ItemStatus | None = None) -> MessageBody:
    """A message; what the assistant wrote is output, everything else is input."""
    parts: list[OutputText | InputTextBody | InputFileBody] = [
        InputFileBody(filename=one.filename, file_id=one.file, characters=len(one.text))
        for one in item.attachments
    ]
    if item.role is Role.ASSISTANT:
        parts.append(OutputText(text=item.text))
    elif item.text or not parts:
        parts.append(InputTextBody(text=item.text))
    body = MessageBody(id=item.id, role=item.role, status=status or _status(item), content=parts)
    if item.through is not None:
        body.summary_through = item.through
    if item.cost_nanos is not None:
        body.cost_nanos = item.cost_nanos
    return _place(body, item)


def _status(item: Item) -> ItemStatus:
    return "completed" if item.complete else "incomplete"


def _place(body: Body, item: Item) -> Body:
    body.parent_id = item.parent
    if item.response is not None:
        body.response_id = item.response
    return body


def render_response(response: Response, currency: str) -> ResponseBody:
    """A response in whatever state it is."""
    body = ResponseBody(
        id=response.id,
        created_at=int(response.created_at),
        status=response.status.value,
        model=response.model,
        output=[render_item(item) for item in response.output],
        instructions=response.instructions,
        metadata=response.metadata,
        temperature=response.sampling.temperature,
        top_p=response.sampling.top_p,
        max_output_tokens=response.sampling.max_tokens,
        conversation=(
            None if response.conversation is None else ConversationReference(response.conversation)
        ),
    )
    options = response.options
    body.background = options.background
    body.previous_response_id = options.previous
    body.truncation = "auto" if options.truncate else "disabled"
    body.truncated_items = options.dropped
    body.tools, body.tool_choice = options.tools, options.tool_choice
    body.parallel_tool_calls = options.parallel_calls
    body.service_tier = options.tier.value
    if options.effort is not None:
        body.reasoning = ThinkingBody(effort=options.effort)
    if options.text_format:
        body.text = {"format": options.text_format}
    if options.prompt is not None:
        used = options.prompt
        body.prompt = PromptBody(id=used.id, version=str(used.version), variables=used.variables)
    if response.finished_at is not None:
        body.completed_at = int(response.finished_at)
    if response.usage is not None:
        body.usage = ResponseUsage.of(response.usage)
    if response.cost_nanos is not None:
        body.cost = Cost(nanos=response.cost_nanos, currency=currency)
    if response.pace is not None:
        body.timings = _render_pace(response.pace)
    if response.status is ResponseStatus.INCOMPLETE:
        filtered = response.incomplete_reason == CONTENT_FILTER
        body.incomplete_details = IncompleteDetails(
            CONTENT_FILTER if filtered else MAX_OUTPUT_TOKENS
        )
    if response.status is ResponseStatus.FAILED:
        body.error = ResponseErrorBody(
            code="server_error",
            message=response.error_message or "The answer could not be finished.",
            reason=response.error_reason or "",
        )
    return body


def _render_pace(pace: Pace) -> Timings:
    queue = UNSET if pace.queue_ms is None else pace.queue_ms
    return Timings(queue_ms=queue, first_token_ms=pace.first_token_ms, total_ms=pace.total_ms)
