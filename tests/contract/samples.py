"""Records for contract tests, with everything set that can be set."""

from dataclasses import replace
from typing import Any

from tokenyard.chat.records import Conversation, Item, Response, ResponseStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.vocabulary.generation import FinishReason, Pace, SamplingParameters, Usage
from tokenyard.vocabulary.ids import (
    ConversationId,
    ItemId,
    KeyId,
    ModelName,
    ProjectId,
    ResponseId,
    UserId,
)
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.money import Money

MINE, THEIRS = ProjectId("proj_mine"), ProjectId("proj_theirs")
ME, YOU = UserId("user_me"), UserId("user_you")
# A time that no shorter number than a double holds exactly.
AT = 1_795_456_920.412_345_6
STRANGE_TEXT = "Zwölf Boxkämpfer\n\t' \" \\ % ? :name ; -- 你好 🧪 \u2028 \x07"


def conversation(number: int = 1, **changes: Any) -> Conversation:
    made = Conversation(
        id=ConversationId(f"conv_{number:03}"),
        project=MINE,
        user=ME,
        created_at=AT,
        updated_at=AT,
        metadata={"topic": STRANGE_TEXT, "empty": ""},
    )
    return replace(made, **changes)


def item(name: str, **changes: Any) -> Item:
    made = Item(id=ItemId(f"msg_{name}"), role=Role.USER, text=STRANGE_TEXT, created_at=AT)
    return replace(made, **changes)


def response(number: int = 1, **changes: Any) -> Response:
    """A response in progress."""
    made = Response(
        id=ResponseId(f"resp_{number:03}"),
        project=MINE,
        user=ME,
        key=KeyId("key_1"),
        model=ModelName("tiny"),
        status=ResponseStatus.IN_PROGRESS,
        created_at=AT,
        sampling=SamplingParameters(
            temperature=0.1 + 0.2, top_p=1.0, top_k=40, seed=2**63, max_tokens=7, stop=("\n", "END")
        ),
        instructions=STRANGE_TEXT,
        metadata={"run": "1"},
    )
    return replace(made, **changes)


def finished(opened: Response, **changes: Any) -> Response:
    """The same response, completed."""
    made = replace(
        opened,
        status=ResponseStatus.COMPLETED,
        finished_at=AT + 5,
        usage=Usage(10, 20, cached_tokens=3, reasoning_tokens=4),
        cost_nanos=2**53 + 1,
        pace=Pace(first_token_ms=120.125, total_ms=4_000.5, queue_ms=3.0),
        output=(
            item(f"of_{opened.id}", role=Role.ASSISTANT, created_at=AT + 5, response=opened.id),
        ),
    )
    return replace(made, **changes)


def usage_row(id: str = "resp_001", **changes: Any) -> UsageRow:
    made = UsageRow(
        id=id,
        at=AT + 5,
        user=ME,
        project=MINE,
        key=KeyId("key_1"),
        model=ModelName("tiny"),
        usage=Usage(10, 20, cached_tokens=3, reasoning_tokens=4),
        cost=Money(2**53 + 1),
        finish=FinishReason.STOP,
    )
    return replace(made, **changes)
