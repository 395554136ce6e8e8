"""What a database error means to the caller, in our own tree of errors."""

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from tokenyard.vocabulary.errors import InternalFailure, TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason

# SQLSTATEs of Postgres after which the connection is gone or was never made: a shutdown, a crash,
# a start in progress, too many connections, an idle transaction that the server ended.
_LOST_STATES = {"57P01", "57P02", "57P03", "57P05", "53300", "25P03", "25P04"}
_CONNECTION_CLASS = "08"
# Classes whose first line names constraints, locks and resources, and no values.
_SAFE_CLASSES = (_CONNECTION_CLASS, "23", "25", "40", "42", "53", "55", "57", "58")


def explain(error: Exception) -> TokenyardError:
    """Ours for theirs; the cause stays attached for the log.

    A locked, full or broken disk is Unavailable, since trying again may help; all else is
    InternalFailure.
    """
    if isinstance(error, TokenyardError):
        return error
    ours: TokenyardError
    if isinstance(error, OperationalError):
        ours = Unavailable(
            "The database cannot be used now.",
            reason=Reason.STORAGE_UNAVAILABLE,
            retry_after_seconds=1.0,
        )
    elif isinstance(error, IntegrityError):
        ours = InternalFailure("The database already holds that id, or refers to one it lacks.")
    else:
        ours = InternalFailure("The database refused what it was given.")
    ours.__cause__ = _without_values(error)
    return ours


class PostgresFault(Exception):
    """What Postgres said, without the rows that it said it of."""


def _without_values(error: Exception) -> BaseException:
    """The cause for the log: Postgres tells the values of a row at fault, which may be a prompt."""
    diagnosis = getattr(getattr(error, "orig", None), "diag", None)
    if diagnosis is None:
        return error
    state = diagnosis.sqlstate or ""
    said = diagnosis.message_primary if state.startswith(_SAFE_CLASSES) else "values left out"
    fault = PostgresFault(f"{type(getattr(error, 'orig', error)).__name__} {state}: {said}")
    return fault.with_traceback(error.__traceback__)


def is_lost(error: Exception) -> bool:
    """Whether it was the connection that failed, and not what was asked through it."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError) or not hasattr(error.orig, "sqlstate"):
        return False
    # A connection that could not be made has no state.
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state is None or state in _LOST_STATES or state.startswith(_CONNECTION_CLASS)
