"""Counts of any server become a usage that can be priced, or are refused."""

import msgspec
import pytest

from tokenyard.protocol.chat_completions import UsageBody
from tokenyard.vocabulary.generation import Usage


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}', Usage(5, 2)),
        (
            b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,'
            b'"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":9}}',
            Usage(5, 2, 0, 2),
        ),
        (
            b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,'
            b'"prompt_tokens_details":{"cached_tokens":6}}',
            Usage(5, 2, 5),
        ),
    ],
)
def test_counts_are_made_true(body: bytes, usage: Usage) -> None:
    assert msgspec.json.decode(body, type=UsageBody).usage() == usage


def test_negative_counts_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(
            b'{"prompt_tokens":-1,"completion_tokens":2,"total_tokens":7}', type=UsageBody
        )
