"""Typed ids, so that a key can never be passed where a conversation is meant.

An id is its prefix, an underscore and random characters (`resp_3f…`), like OpenAI's ids.
Minting needs randomness and therefore lives in `runtime.randomness`.
"""

from enum import StrEnum
from typing import NewType

OrganisationId = NewType("OrganisationId", str)
InvitationId = NewType("InvitationId", str)
UserId = NewType("UserId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
SessionId = NewType("SessionId", str)
RequestId = NewType("RequestId", str)
CompletionId = NewType("CompletionId", str)
ConversationId = NewType("ConversationId", str)
ResponseId = NewType("ResponseId", str)
ItemId = NewType("ItemId", str)
ReservationId = NewType("ReservationId", str)
ReplicaId = NewType("ReplicaId", str)
# A process that writes responses, from its start to its end.
ProducerId = NewType("ProducerId", str)
ModelName = NewType("ModelName", str)
JobId = NewType("JobId", str)
QueueName = NewType("QueueName", str)
NodeName = NewType("NodeName", str)
FileId = NewType("FileId", str)
BatchId = NewType("BatchId", str)
BudgetId = NewType("BudgetId", str)
LimitId = NewType("LimitId", str)
PromptId = NewType("PromptId", str)
ShareId = NewType("ShareId", str)


class IdPrefix(StrEnum):
    """The first part of each kind of id; what follows the underscore is random."""

    ORGANISATION = "org"
    USER = "user"
    SERVICE_ACCOUNT = "svc"
    INVITATION = "inv"
    PROJECT = "proj"
    KEY = "key"
    SESSION = "sess"
    REQUEST = "req"
    CHAT_COMPLETION = "chatcmpl"
    COMPLETION = "cmpl"
    CONVERSATION = "conv"
    RESPONSE = "resp"
    MESSAGE = "msg"
    FUNCTION_CALL = "fc"
    FUNCTION_OUTPUT = "fco"
    REASONING = "rs"
    RESERVATION = "rsv"
    REPLICA = "repl"
    PRODUCER = "prod"
    FILE = "file"
    BATCH = "batch"
    JOB = "job"
    BUDGET = "bdgt"
    LIMIT = "lim"
    LEASE = "lease"
    HOLDER = "hold"
    PROMPT = "pmpt"
    SHARE = "share"
