"""What every store refuses in the same words."""

from tokenyard.vocabulary.errors import Conflict, InternalFailure, InvalidRequest, NotFound
from tokenyard.vocabulary.reasons import Reason


def already_there(what: str) -> InternalFailure:
    """An id or a secret was stored twice; ids are random, so this is a fault of ours."""
    return InternalFailure(f"A {what} with that id is already stored.")


def no_conversation() -> NotFound:
    """The conversation was deleted, or belongs to somebody else."""
    return NotFound("There is no such conversation.", param="conversation")


def conversation_busy() -> Conflict:
    """Two answers at once would each be asked without the other."""
    return Conflict(
        "This conversation is being answered. Wait for the end, or cancel that response.",
        reason=Reason.CONVERSATION_BUSY,
        param="conversation",
    )


def unknown_cursor() -> InvalidRequest:
    """A page was asked for after an object that is not in the list."""
    return InvalidRequest(
        "`after` names nothing in this list.", reason=Reason.INVALID_CURSOR, param="after"
    )


def email_taken(email: str) -> Conflict:
    """An address belongs to one user of the whole installation."""
    return Conflict(
        f"Somebody with the address '{email}' is here already.",
        reason=Reason.EMAIL_TAKEN,
        param="email",
    )


def last_owner() -> Conflict:
    """Without an owner nobody could ever change the organisation again."""
    return Conflict(
        "This is the organisation's last owner. Make somebody else an owner first.",
        reason=Reason.LAST_OWNER,
    )


def no_file() -> NotFound:
    """The file was deleted, or belongs to somebody else."""
    return NotFound("There is no such file.", param="input_file_id")


def file_in_use() -> Conflict:
    """A batch that has not ended reads the file."""
    return Conflict(
        "A batch that has not ended reads this file. Cancel the batch first.",
        reason=Reason.FILE_IN_USE,
        param="file_id",
    )


def too_many_buckets(limit: int) -> InvalidRequest:
    """The sums would be more than one answer may hold."""
    return InvalidRequest(
        f"This would be more than {limit} rows: ask for less time, wider buckets or fewer groups.",
        param="limit",
    )
