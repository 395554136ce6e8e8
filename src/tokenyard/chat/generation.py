"""One generation as the chat sees it: words, thoughts and calls piece by piece, then the end.

Turns the chunks of a model server's stream into parts and what they took; does not keep or number
anything.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from tokenyard.chat.records import FunctionCall, ItemKind
from tokenyard.chat.rules.seam import Part
from tokenyard.protocol.chat_completions import (
    ChatCompletionChunk,
    Delta,
    PromptProgress,
)
from tokenyard.protocol.errors import ErrorResponse
from tokenyard.protocol.tools import ToolCallDelta
from tokenyard.protocol.turns import write_messages
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Upstream
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.generation import NO_OFFER, Offer, SamplingParameters, Usage
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Piece:
    """What came at once, and the tokens it came of; None when the server does not tell them."""

    parts: tuple[Part, ...]
    tokens: tuple[int, ...] | None


@dataclass(slots=True)
class Generated:
    """How far a generation came, over all the servers that worked on it.

    `finish` is None until a model server said why it ended.
    """

    # Pieces that readers were shown: they stand for tokens when the server died before it could
    # tell.
    pieces: int = 0
    # All tokens of what was shown; None once some of them are not known.
    tokens: list[int] | None = field(default_factory=list)
    # Pieces that came after the reader had stopped the answer, and were not shown.
    unshown: int = 0
    finish: str | None = None
    usage: Usage | None = None
    # How long the last server let it wait; None where it did not tell.
    queue_ms: float | None = None

    def counted(self) -> Usage | None:
        """The last server's own counts, or what was seen; None when nothing was generated.

        A server that goes on counts what came before it as well, so that the last count is that of
        the whole answer, and work that was done twice is not counted twice.
        """
        if self.usage is not None:
            return self.usage
        seen = (len(self.tokens) if self.tokens else self.pieces) + self.unshown
        return Usage(0, seen) if seen else None

    def show(self, piece: Piece) -> None:
        """Readers are shown one more piece."""
        self.pieces += bool(piece.parts)
        if piece.tokens is None:
            self.tokens = None
        elif self.tokens is not None:
            self.tokens.extend(piece.tokens)

    def reset(self) -> None:
        """What was shown is void."""
        self.pieces, self.tokens = 0, []


@dataclass(frozen=True, slots=True)
class Manner:
    """What else a request says of its answer.

    goes_on: the last turn is the beginning of the answer. offer: functions that may be called.
    effort: how much to think. queue_place: lower first, 0 as usual.
    """

    text_format: Mapping[str, Any] = field(default_factory=dict)
    goes_on: bool = False
    offer: Offer = NO_OFFER
    parallel_calls: bool = True
    effort: str | None = None
    queue_place: int = 0


def spell_request(
    model: str, turns: Sequence[Message], sampling: SamplingParameters, manner: Manner
) -> bytes:
    """The body of a request for a streamed chat completion, with its usage at the end."""
    body: dict[str, object] = {
        "model": model,
        "messages": write_messages(turns),
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
    if manner.text_format:
        body["response_format"] = _spell_format(manner.text_format)
    if manner.goes_on:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if manner.offer.tools:
        body["tools"] = manner.offer.tools
        if manner.offer.tool_choice is not None:
            body["tool_choice"] = manner.offer.tool_choice
        if not manner.parallel_calls:
            body["parallel_tool_calls"] = False
    if manner.effort is not None:
        body["reasoning_effort"] = manner.effort
    if manner.queue_place:
        body["priority"] = manner.queue_place
    return msgspec.json.encode(body)


def spell_call(
    request: bytes,
    request_id: str,
    *,
    continues: bool,
    tokens: Sequence[int] = (),
    own_seed: bool = False,
) -> GenerationCall:
    """The call for a request. tokens: those that another server has generated of the answer.

    continues: whether the server understands them. own_seed: its seed was drawn here.
    """
    if continues:
        body: dict[str, object] = msgspec.json.decode(request)
        body["return_token_ids"] = body["return_progress"] = True
        if tokens:
            body["continue_token_ids"] = list(tokens)
        request = msgspec.json.encode(body)
    return GenerationCall(GenerationPath.CHAT, request, request_id, own_seed=own_seed)


def _spell_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form as Chat Completions spells it: the schema one level deeper."""
    rest = {name: value for name, value in form.items() if name != "type"}
    return {"type": form["type"], **({"json_schema": rest} if rest else {})}


async def generate(
    upstream: Upstream,
    call: GenerationCall,
    so_far: Generated,
    reading: Callable[[PromptProgress], None] = lambda progress: None,
) -> AsyncIterator[Piece]:
    """Yield what comes; what the server says of the end goes into `so_far`.

    reading: hears how far the prompt has been read. Raises what the server refused, and
    UpstreamFailed when it broke.
    """
    so_far.finish = so_far.usage = None
    decoder, calls = msgspec.json.Decoder(ChatCompletionChunk), _Calls()
    async for event in upstream.stream(call):
        try:
            chunk = decoder.decode(event.data)
        except msgspec.MsgspecError as error:
            raise _failed_inside(event.data) from error
        if isinstance(chunk.prompt_progress, PromptProgress):
            reading(chunk.prompt_progress)
        if chunk.timings and chunk.timings.queue_ms is not UNSET:
            so_far.queue_ms = chunk.timings.queue_ms
        if chunk.usage:
            so_far.usage = chunk.usage.usage()
        for choice in chunk.choices:
            so_far.finish = choice.finish_reason or so_far.finish
            parts = _read_parts(choice.delta, calls)
            told = choice.token_ids or ()
            if parts or told:
                yield Piece(parts, tuple(told) if upstream.continues else None)
    if so_far.finish is None:
        raise UpstreamFailed("The model server ended its answer without a reason.")


class _Calls:
    """Which call a server's pieces belong to: one call after another."""

    def __init__(self) -> None:
        self._index: int | None = None

    def read(self, delta: ToolCallDelta) -> Part:
        """A piece of a call; raises UpstreamFailed when calls come in a tangle.

        Where another server has begun the call, its first piece here has no name.
        """
        name, arguments = delta.function.name or "", delta.function.arguments or ""
        if name and delta.index != self._index:
            self._index = delta.index
            call = FunctionCall(delta.id or f"call_{delta.index}", name)
            return Part(ItemKind.FUNCTION_CALL, arguments, call)
        if self._index not in (None, delta.index):
            raise UpstreamFailed(
                "The model server mixed the arguments of several calls.",
                # It would do so again.
                reason=Reason.GENERATION_FAILED,
            )
        self._index = delta.index
        return Part(ItemKind.FUNCTION_CALL, arguments)


def _read_parts(delta: Delta, calls: _Calls) -> tuple[Part, ...]:
    parts: list[Part] = []
    if delta.reasoning_content:
        parts.append(Part(ItemKind.REASONING, delta.reasoning_content))
    if delta.content:
        parts.append(Part(ItemKind.MESSAGE, delta.content))
    told = [calls.read(one) for one in delta.tool_calls or ()]
    parts += [part for part in told if part.text or part.call is not None]
    return tuple(parts)


def _failed_inside(data: bytes) -> UpstreamFailed:
    """An event that is no chunk: the server's error, or nonsense."""
    try:
        told = msgspec.json.decode(data, type=ErrorResponse).error
    except msgspec.MsgspecError:
        return UpstreamFailed("The model server sent something that is not a chunk.")
    return UpstreamFailed(told.message, reason=Reason.GENERATION_FAILED)
