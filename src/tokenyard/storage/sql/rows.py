"""Records as rows and back, field by field."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row

from tokenyard.chat.records import (
    Attachment,
    Conversation,
    FunctionCall,
    Item,
    ItemKind,
    Node,
    Response,
    ResponseOptions,
    ResponseStatus,
    TitleBy,
)
from tokenyard.ledger.records import UsageRow
from tokenyard.ledger.rules.pricing import Tier
from tokenyard.storage.days import day_number
from tokenyard.vocabulary.generation import FinishReason, Pace, SamplingParameters, Usage
from tokenyard.vocabulary.ids import (
    ConversationId,
    ItemId,
    KeyId,
    ModelName,
    OrganisationId,
    ProjectId,
    ResponseId,
    UserId,
)
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

Values = dict[str, Any]


def write_conversation(conversation: Conversation) -> Values:
    return {
        "id": conversation.id,
        "project_id": conversation.project,
        "user_id": conversation.user,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "metadata": dict(conversation.metadata),
        "title": conversation.title,
        "title_by": conversation.title_by.value,
        "folder": conversation.folder,
        "pinned": conversation.pinned,
        "archived": conversation.archived,
        "leaf_id": conversation.leaf,
    }


def read_conversation(row: Row[Any]) -> Conversation:
    return Conversation(
        id=ConversationId(row.id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        created_at=row.created_at,
        updated_at=row.updated_at,
        # An attribute of that name would be SQLAlchemy's own.
        metadata=row._mapping["metadata"],
        title=row.title,
        title_by=TitleBy(row.title_by),
        folder=row.folder,
        pinned=row.pinned,
        archived=row.archived,
        leaf=None if row.leaf_id is None else ItemId(row.leaf_id),
    )


class _Detail(msgspec.Struct, omit_defaults=True):
    """What few items have, in one column."""

    attachments: tuple[Attachment, ...] = ()
    call: FunctionCall | None = None
    through: ItemId | None = None
    cost_nanos: int | None = None


def write_items(
    items: Sequence[Item], conversation: ConversationId | None, response: ResponseId | None
) -> list[Values]:
    """Rows for items of one conversation; `response` is named by all of them when it is given."""
    return [
        {
            "id": item.id,
            "conversation_id": conversation,
            "response_id": response or item.response,
            "role": item.role.value,
            "text": item.text,
            "created_at": item.created_at,
            "complete": item.complete,
            "parent_id": item.parent,
            "kind": item.kind.value,
            "detail": _write_detail(item),
        }
        for item in items
    ]


def read_item(row: Row[Any]) -> Item:
    detail = _Detail() if row.detail is None else msgspec.convert(row.detail, _Detail)
    return Item(
        id=ItemId(row.id),
        role=Role(row.role),
        text=row.text,
        created_at=row.created_at,
        response=None if row.response_id is None else ResponseId(row.response_id),
        complete=row.complete,
        parent=None if row.parent_id is None else ItemId(row.parent_id),
        kind=ItemKind(row.kind),
        attachments=detail.attachments,
        call=detail.call,
        through=detail.through,
        cost_nanos=detail.cost_nanos,
    )


def read_node(row: Row[Any]) -> Node:
    return Node(
        id=ItemId(row.id),
        parent=None if row.parent_id is None else ItemId(row.parent_id),
        role=Role(row.role),
        kind=ItemKind(row.kind),
        response=None if row.response_id is None else ResponseId(row.response_id),
        complete=row.complete,
        created_at=row.created_at,
    )


def _write_detail(item: Item) -> Any:
    detail = _Detail(item.attachments, item.call, item.through, item.cost_nanos)
    return None if detail == _Detail() else msgspec.to_builtins(detail)


def write_response(response: Response) -> Values:
    """The row of a response that is in progress."""
    return {
        "id": response.id,
        "project_id": response.project,
        "user_id": response.user,
        "key_id": response.key,
        "model": response.model,
        "created_at": response.created_at,
        "sampling": msgspec.to_builtins(response.sampling),
        "conversation_id": response.conversation,
        "instructions": response.instructions,
        "metadata": dict(response.metadata),
        "stored": response.stored,
        "options": msgspec.to_builtins(response.options),
        **write_progress(response),
    }


def write_progress(response: Response) -> Values:
    """The part of a response's row that its end changes."""
    used = response.usage
    return {
        "status": response.status.value,
        "finished_at": response.finished_at,
        **(_NO_USAGE if used is None else _write_usage(used)),
        "cost_nanos": response.cost_nanos,
        **_write_pace(response.pace),
        "incomplete_reason": response.incomplete_reason,
        "error_reason": None if response.error_reason is None else response.error_reason.value,
        "error_message": response.error_message,
        # The first item of the answer; the others were added after it.
        "output_id": response.output[0].id if response.output else None,
    }


def read_response(row: Row[Any], output: tuple[Item, ...] = ()) -> Response:
    return Response(
        id=ResponseId(row.id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        key=None if row.key_id is None else KeyId(row.key_id),
        model=ModelName(row.model),
        status=ResponseStatus(row.status),
        created_at=row.created_at,
        sampling=msgspec.convert(row.sampling, SamplingParameters),
        conversation=None if row.conversation_id is None else ConversationId(row.conversation_id),
        instructions=row.instructions,
        metadata=row._mapping["metadata"],
        finished_at=row.finished_at,
        usage=None if row.prompt_tokens is None else _read_usage(row),
        cost_nanos=row.cost_nanos,
        pace=_read_pace(row),
        incomplete_reason=row.incomplete_reason,
        error_reason=None if row.error_reason is None else Reason(row.error_reason),
        error_message=row.error_message,
        output=output,
        stored=row.stored,
        options=(
            ResponseOptions()
            if row.options is None
            else msgspec.convert(row.options, ResponseOptions)
        ),
    )


def _write_pace(pace: Pace | None) -> Values:
    return {
        "first_token_ms": None if pace is None else pace.first_token_ms,
        "total_ms": None if pace is None else pace.total_ms,
        "queue_ms": None if pace is None else pace.queue_ms,
    }


def _read_pace(row: Row[Any]) -> Pace | None:
    if row.total_ms is None:
        return None
    return Pace(row.first_token_ms, row.total_ms, row.queue_ms)


def write_usage_row(row: UsageRow) -> Values:
    return {
        "id": row.id,
        "at": row.at,
        "day": day_number(row.at),
        "user_id": row.user,
        "project_id": row.project,
        "key_id": row.key,
        "model": row.model,
        **_write_usage(row.usage),
        "cost_nanos": row.cost.nanos,
        "currency": row.cost.currency,
        "finish": row.finish.value,
        "minute": int(row.at // 60),
        "organisation_id": row.organisation,
        "tier": row.tier.value,
        "upstream": row.upstream,
        "job_id": row.job,
        "gpu_millis": row.gpu_millis,
        "saved_nanos": row.saved_nanos,
    }


def read_usage_row(row: Row[Any]) -> UsageRow:
    return UsageRow(
        id=row.id,
        at=row.at,
        user=UserId(row.user_id),
        project=ProjectId(row.project_id),
        key=None if row.key_id is None else KeyId(row.key_id),
        model=ModelName(row.model),
        usage=_read_usage(row),
        cost=Money(int(row.cost_nanos), row.currency),
        finish=FinishReason(row.finish),
        organisation=OrganisationId(row.organisation_id),
        tier=Tier(row.tier),
        upstream=row.upstream,
        job=row.job_id,
        gpu_millis=int(row.gpu_millis),
        saved_nanos=int(row.saved_nanos),
    )


def _write_usage(usage: Usage) -> Values:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


_NO_USAGE: Values = dict.fromkeys(_write_usage(Usage(0, 0)))


def _read_usage(row: Row[Any]) -> Usage:
    return Usage(
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached_tokens=row.cached_tokens,
        reasoning_tokens=row.reasoning_tokens,
    )
