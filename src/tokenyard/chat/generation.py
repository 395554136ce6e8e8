"""One generation as the chat sees it: text arriving piece by piece, then how it ended.

Turns the chunks of a model server's stream into text, usage and timings; does not keep or number
anything.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tokenyard.protocol.chat_completions import ChatCompletionChunk, Timings
from tokenyard.protocol.errors import ErrorResponse
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Upstream
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.generation import SamplingParameters, Usage
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Piece:
    """Text as it came, and the tokens it came of; None when the server does not tell them."""

    text: str
    tokens: tuple[int, ...] | None


@dataclass(slots=True)
class Generated:
    """How far a generation came, over all the servers that worked on it.

    `finish` is None until a model server said why it ended.
    """

    # Text as readers were shown it, in pieces; their number stands for tokens when the server died
    # before it could tell.
    pieces: list[str] = field(default_factory=list)
    # All tokens of the text; None once some of them are not known.
    tokens: list[int] | None = field(default_factory=list)
    # Pieces that came after the reader had stopped the answer, and were not shown.
    unshown: int = 0
    finish: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None

    def counted(self) -> Usage | None:
        """The last server's own counts, or what was seen; None when nothing was generated.

        A server that goes on counts what came before it as well, so that the last count is that of
        the whole answer, and work that was done twice is not counted twice.
        """
        if self.usage is not None:
            return self.usage
        seen = len(self.tokens or self.pieces) + self.unshown
        return Usage(0, seen) if seen else None

    def show(self, piece: Piece) -> None:
        """Readers are shown one more piece."""
        if piece.text:
            self.pieces.append(piece.text)
        if piece.tokens is None:
            self.tokens = None
        elif self.tokens is not None:
            self.tokens.extend(piece.tokens)

    def reset(self) -> None:
        """What was shown is void."""
        self.pieces, self.tokens = [], []

    def shown_text(self) -> str:
        """What readers have seen of it."""
        return "".join(self.pieces)


def spell_request(
    model: str,
    turns: Sequence[Message],
    sampling: SamplingParameters,
    text_format: Mapping[str, Any] | None = None,
    *,
    goes_on: bool = False,
) -> bytes:
    """The body of a request for a streamed chat completion, with its usage at the end.

    goes_on: the last turn is the beginning of the answer.
    """
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.max_tokens is not None:
        body["max_completion_tokens"] = sampling.max_tokens
    if text_format:
        body["response_format"] = _spell_format(text_format)
    if goes_on:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return msgspec.json.encode(body)


def spell_call(
    request: bytes, request_id: str, *, continues: bool, tokens: Sequence[int] = ()
) -> GenerationCall:
    """The call for a request. tokens: those that another server has generated of the answer.

    continues: whether the server understands them.
    """
    if continues:
        body: dict[str, object] = msgspec.json.decode(request)
        body["return_token_ids"] = True
        if tokens:
            body["continue_token_ids"] = list(tokens)
        request = msgspec.json.encode(body)
    return GenerationCall(GenerationPath.CHAT, request, request_id)


def _spell_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form as Chat Completions spells it: the schema one level deeper."""
    rest = {name: value for name, value in form.items() if name != "type"}
    return {"type": form["type"], **({"json_schema": rest} if rest else {})}


async def generate(
    upstream: Upstream, call: GenerationCall, so_far: Generated
) -> AsyncIterator[Piece]:
    """Yield text as it comes; what the server says of the end goes into `so_far`.

    Raises what the server refused, and UpstreamFailed when it broke.
    """
    so_far.finish = so_far.usage = None
    decoder = msgspec.json.Decoder(ChatCompletionChunk)
    async for event in upstream.stream(call):
        try:
            chunk = decoder.decode(event.data)
        except msgspec.MsgspecError as error:
            raise _failed_inside(event.data) from error
        if isinstance(chunk.timings, Timings):
            so_far.timings = chunk.timings
        if chunk.usage:
            so_far.usage = chunk.usage.usage()
        for choice in chunk.choices:
            so_far.finish = choice.finish_reason or so_far.finish
            text = choice.delta.content or ""
            told = choice.token_ids or ()
            if text or told:
                yield Piece(text, tuple(told) if upstream.continues else None)
    if so_far.finish is None:
        raise UpstreamFailed("The model server ended its answer without a reason.")


def _failed_inside(data: bytes) -> UpstreamFailed:
    """An event that is no chunk: the server's error, or nonsense."""
    try:
        told = msgspec.json.decode(data, type=ErrorResponse).error
    except msgspec.MsgspecError:
        return UpstreamFailed("The model server sent something that is not a chunk.")
    return UpstreamFailed(told.message, reason=Reason.GENERATION_FAILED)
