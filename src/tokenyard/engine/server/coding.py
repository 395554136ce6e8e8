"""Text of requests as tokens and back; long texts are coded beside the loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from tokenyard.engine.rules.speech import THOUGHT_OPENS
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InvalidRequest

T = TypeVar("T")
# Coding a text of this length takes less time than handing it to a thread.
INLINE_CHARACTERS_MAX = 8_192


async def encode_prompt(tokenizer: Tokenizer, prompt: str | list[int]) -> list[int]:
    """A raw prompt is its caller's alone, so control tokens may be spelled in it."""
    if isinstance(prompt, str):
        return await beside(
            len(prompt), lambda: tokenizer.with_bos(tokenizer.encode(prompt, specials=True))
        )
    check_tokens(tokenizer, prompt, "prompt")
    return prompt


async def decode_tokens(tokenizer: Tokenizer, tokens: list[int]) -> str:
    """The text of tokens; raises InvalidRequest for one that is not in the vocabulary."""
    check_tokens(tokenizer, tokens, "tokens")
    return await beside(len(tokens), lambda: tokenizer.decode(tokens))


def check_tokens(tokenizer: Tokenizer, tokens: list[int], param: str) -> None:
    """Raise InvalidRequest for a token id that does not exist."""
    if any(not 0 <= token < tokenizer.vocabulary_size for token in tokens):
        raise InvalidRequest(
            f"A token id is not in the vocabulary of {tokenizer.vocabulary_size}.", param=param
        )


def opens_thought(tokenizer: Tokenizer, prompt: list[int]) -> bool:
    """Whether the template has begun a thought for the model, as some do."""
    return tokenizer.decode(prompt[-4:]).rstrip().endswith(THOUGHT_OPENS)


async def beside(size: int, work: Callable[[], T]) -> T:
    """Do it here when it is short, and else in a thread."""
    return work() if size <= INLINE_CHARACTERS_MAX else await asyncio.to_thread(work)
