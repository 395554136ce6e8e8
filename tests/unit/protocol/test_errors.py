"""Every error becomes an OpenAI error body that keeps its reason."""

import json

import jsonschema
import msgspec
import pytest

from support.spec import validator
from tokenyard.protocol.errors import error_response
from tokenyard.vocabulary import errors
from tokenyard.vocabulary.reasons import Reason

KINDS = [
    (errors.InvalidRequest, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.MethodNotAllowed, 405),
    (errors.Conflict, 409),
    (errors.BodyTooLarge, 413),
    (errors.LimitReached, 429),
    (errors.InternalFailure, 500),
    (errors.UpstreamFailed, 502),
    (errors.Unavailable, 503),
]


@pytest.mark.parametrize(("kind", "status"), KINDS)
def test_body(kind: type[errors.TokenyardError], status: int) -> None:
    told, body, _ = error_response(kind("Why.", param="field"))
    assert told == status
    tree = json.loads(msgspec.json.encode(body))
    validator("error").validate(tree)
    assert tree["error"]["message"] == "Why."
    assert tree["error"]["param"] == "field"
    assert tree["error"]["code"] in set(Reason)


def test_wait_is_told_in_whole_seconds_and_never_zero() -> None:
    for seconds, told in ((0.01, "1"), (1.2, "2"), (30, "30")):
        error = errors.LimitReached("Slow.", retry_after_seconds=seconds)
        assert error_response(error)[2] == {"retry-after": told}


def test_foreign_error_tells_nothing() -> None:
    status, body, _ = error_response(ValueError("the password is 1234"))
    assert status == 500
    assert "1234" not in body.error.message


def test_schema_is_really_asked() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("error").validate({"error": {"message": "no type"}})
