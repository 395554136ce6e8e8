"""Tokens on the wire: texts as ids and back in the form of vLLM, counts in that of OpenAI."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tokenyard.protocol.chat_completions import ChatMessage, Name, TokenId

TOKENS_MAX = 1_000_000


class TokenizeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /tokenize`: a text as it is, or a conversation in the model's template."""

    model: Name
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)] | None = None


class Tokenized(msgspec.Struct, kw_only=True):
    """The tokens, and how many the model can hold; 0 where that is not known."""

    count: int
    max_model_len: int
    tokens: list[int]


class DetokenizeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /detokenize`."""

    model: Name
    tokens: Annotated[list[TokenId], Meta(max_length=TOKENS_MAX)]


class Detokenized(msgspec.Struct, kw_only=True):
    """The text; bytes that are no UTF-8 become U+FFFD."""

    prompt: str


class TokenCount(msgspec.Struct, kw_only=True):
    """How many tokens a request would send. exact: whether the model's own tokenizer counted."""

    input_tokens: int
    exact: bool = True
    object: Literal["response.input_tokens"] = "response.input_tokens"
