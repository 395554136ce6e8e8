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


@dataclass(slots=True)
class Generated:
    """How far a generation came. `finish` is None until the model server said why it ended."""

    # Pieces of text as they came; their number stands for tokens when the server died before it
    # could tell.
    pieces: list[str] = field(default_factory=list)
    # How many of the last pieces came after the reader had stopped the answer.
    unshown: int = 0
    finish: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None

    def counted(self) -> Usage | None:
        """The server's own counts, or what was seen of them; None when nothing was generated."""
        if self.usage is not None:
            return self.usage
        return Usage(0, len(self.pieces)) if self.pieces else None

    def shown_text(self) -> str:
        """What readers have seen of it."""
        return "".join(self.pieces[: len(self.pieces) - self.unshown])


def chat_call(
    model: str,
    turns: Sequence[Message],
    sampling: SamplingParameters,
    request_id: str,
    text_format: Mapping[str, Any] | None = None,
) -> GenerationCall:
    """The request for a streamed chat completion, with its usage at the end."""
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
    return GenerationCall(GenerationPath.CHAT, msgspec.json.encode(body), request_id)


def _spell_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form as Chat Completions spells it: the schema one level deeper."""
    rest = {name: value for name, value in form.items() if name != "type"}
    return {"type": form["type"], **({"json_schema": rest} if rest else {})}


async def generate(
    upstream: Upstream, call: GenerationCall, so_far: Generated
) -> AsyncIterator[str]:
    """Yield text as it comes and keep `so_far` true, so that a break loses nothing.

    Raises what the server refused, and UpstreamFailed when it broke.
    """
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
            if choice.delta.content:
                so_far.pieces.append(choice.delta.content)
                yield choice.delta.content
    if so_far.finish is None:
        raise UpstreamFailed("The model server ended its answer without a reason.")


def _failed_inside(data: bytes) -> UpstreamFailed:
    """An event that is no chunk: the server's error, or nonsense."""
    try:
        told = msgspec.json.decode(data, type=ErrorResponse).error
    except msgspec.MsgspecError:
        return UpstreamFailed("The model server sent something that is not a chunk.")
    return UpstreamFailed(told.message, reason=Reason.GENERATION_FAILED)
