"""Embeddings on the wire. Source: OpenAI API reference, `CreateEmbeddingRequest`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

INPUTS_MAX = 2048

Name = Annotated[str, Meta(min_length=1, max_length=256)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Meta(min_length=1)]
Texts = Annotated[list[str], Meta(min_length=1, max_length=INPUTS_MAX)]
TokenTexts = Annotated[list[TokenIds], Meta(min_length=1, max_length=INPUTS_MAX)]


class EmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/embeddings`. input: a text, its token ids, or several of either.

    An embedding is as wide as the model; another `dimensions` is refused.
    """

    model: Name
    input: str | list[str | TokenId | list[TokenId]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    # vLLM's extension: only the newest so many tokens of each text are read; -1: what fits.
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    cache_salt: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    user: str | None = None

    def texts(self) -> list[str] | list[list[int]]:
        """The inputs, one entry each; raises ValidationError for a mixture."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [msgspec.convert(self.input, TokenIds)]
        if self.input and isinstance(self.input[0], list):
            return msgspec.convert(self.input, TokenTexts)
        return msgspec.convert(self.input, Texts)


class Embedding(msgspec.Struct, kw_only=True):
    """One vector of length 1: numbers, or little-endian float32 in base64."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, kw_only=True):
    """The answer, in the order of the inputs."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
