"""What a database error means to the caller, in our own tree of errors."""

from sqlalchemy.exc import IntegrityError, OperationalError

from tokenyard.vocabulary.errors import InternalFailure, TokenyardError, Unavailable


def explain(error: Exception) -> TokenyardError:
    """Ours for theirs; the cause stays attached for the log.

    A locked, full or broken disk is Unavailable, since trying again may help; all else is
    InternalFailure.
    """
    if isinstance(error, TokenyardError):
        return error
    ours: TokenyardError
    if isinstance(error, OperationalError):
        ours = Unavailable("The database cannot be used now.", retry_after_seconds=1.0)
    elif isinstance(error, IntegrityError):
        ours = InternalFailure("The database already holds that id, or refers to one it lacks.")
    else:
        ours = InternalFailure("The database refused what it was given.")
    ours.__cause__ = error
    return ours
