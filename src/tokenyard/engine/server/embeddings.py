"""Texts as vectors: what `POST /v1/embeddings` asks for, and its answer.

A vector is the mean of what the model makes of each token, brought to length 1. Does not know
HTTP.
"""

import base64
import math
import struct

import msgspec

from tokenyard.engine.generation import GenerationGroup
from tokenyard.engine.server.requests import unsupported
from tokenyard.protocol.embeddings import (
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
)
from tokenyard.vocabulary.errors import InvalidRequest, Unavailable
from tokenyard.vocabulary.generation import FinishReason
from tokenyard.vocabulary.reasons import Reason


def read_inputs(request: EmbeddingRequest) -> list[str] | list[list[int]]:
    """The texts or token lists; raises InvalidRequest for a mixture or an empty list."""
    try:
        return request.texts()
    except msgspec.ValidationError:
        raise InvalidRequest(
            "'input' is a text, its token ids, or a list of up to 2048 of one of these.",
            param="input",
        ) from None


async def collect_vectors(group: GenerationGroup, request: EmbeddingRequest) -> bytes:
    """The answer as JSON; raises what ended a text early."""
    vectors: dict[int, tuple[float, ...]] = {}
    tokens = 0
    async for number, piece in group:
        if piece.finish is FinishReason.ABORT:
            raise Unavailable(
                "The model server stopped before the answer was complete.",
                reason=Reason.SHUTTING_DOWN,
                retry_after_seconds=1,
            )
        if piece.finish is not None:
            vectors[number] = _normalise(piece.vector)
            tokens += 0 if piece.usage is None else piece.usage.prompt_tokens
    width = len(vectors[0])
    if request.dimensions not in (None, width):
        raise unsupported("dimensions")
    packed = request.encoding_format == "base64"
    return msgspec.json.encode(
        EmbeddingList(
            data=[
                Embedding(embedding=_pack(one) if packed else list(one), index=number)
                for number, one in sorted(vectors.items())
            ],
            model=request.model,
            usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )
    )


def _normalise(vector: tuple[float, ...]) -> tuple[float, ...]:
    length = math.sqrt(math.fsum(one * one for one in vector)) or 1.0
    return tuple(one / length for one in vector)


def _pack(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
