"""Items on the wire as drafts of the chat's."""

from collections.abc import Sequence

from tokenyard.chat.records import Draft
from tokenyard.protocol.responses import InputItem
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason


def read_drafts(items: Sequence[InputItem]) -> list[Draft]:
    """What is asked or added; raises InvalidRequest for files, which are not read yet."""
    for item in items:
        if item.files():
            raise InvalidRequest(
                "'input_file' is not supported.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="input",
            )
    return [Draft(item.role, item.text()) for item in items]
