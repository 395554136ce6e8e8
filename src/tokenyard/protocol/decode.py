"""Reading a request body: every mistake becomes a sentence that names the field."""

import re
from typing import TypeVar

import msgspec

from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")

_AT_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>.*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


def decode_request(kind: type[T], body: bytes) -> T:
    """Parse and check a JSON body; raises InvalidRequest with the path of the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error}.", reason=Reason.INVALID_JSON
        ) from None


def _explain(text: str) -> InvalidRequest:
    """Turn msgspec's wording ("… - at `$.messages[0].role`") into message, reason and param."""
    path = ""
    if match := _AT_PATH.search(text):
        path = match["path"].replace("[...]", "[]")
        text = text[: match.start()]
    reason = Reason.INVALID_VALUE
    for pattern in (_UNKNOWN, _MISSING):
        if match := pattern.search(text):
            path = f"{path}.{match['name']}" if path else match["name"]
            reason = Reason.UNKNOWN_PARAMETER if pattern is _UNKNOWN else Reason.INVALID_VALUE
    where = f"'{path}': " if path else ""
    return InvalidRequest(f"{where}{text}.", reason=reason, param=path or None)
