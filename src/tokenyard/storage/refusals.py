"""What every store refuses in the same words."""

from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest, NotFound
from tokenyard.vocabulary.reasons import Reason


def already_there(what: str) -> InternalFailure:
    """An id or a secret was stored twice; ids are random, so this is a fault of ours."""
    return InternalFailure(f"A {what} with that id is already stored.")


def no_conversation() -> NotFound:
    """The conversation was deleted, or belongs to somebody else."""
    return NotFound("There is no such conversation.", param="conversation")


def unknown_cursor() -> InvalidRequest:
    """A page was asked for after an object that is not in the list."""
    return InvalidRequest(
        "`after` names nothing in this list.", reason=Reason.INVALID_CURSOR, param="after"
    )
