"""What the platform needs from a model server; `http` and `scripted` both keep this contract."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tokenyard.protocol.models import Model
from tokenyard.protocol.sse import SseEvent
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message


class Health(StrEnum):
    """What a model server says of itself."""

    READY = "ready"
    LOADING = "loading"
    DOWN = "down"


class GenerationPath(StrEnum):
    """The calls that make tokens, below the server's `/v1`."""

    CHAT = "/chat/completions"
    TEXT = "/completions"
    EMBEDDINGS = "/embeddings"
    # Anthropic's; known to the adapter for it only.
    MESSAGES = "/messages"


@dataclass(frozen=True, slots=True)
class GenerationCall:
    """One request for tokens: a JSON body as the OpenAI API has it.

    `request_id` names the call for `abort`, and in the logs of both sides. `seconds_max` is the
    longest wait for a whole answer, where it is not `upstreams.first_token_seconds`. `own_seed`:
    nobody asked for the seed in the body, which a server that takes none may leave out.
    """

    path: GenerationPath
    body: bytes
    request_id: str
    seconds_max: float | None = None
    own_seed: bool = False


class Upstream(Protocol):
    """A model server that speaks the OpenAI API."""

    @property
    def continues(self) -> bool:
        """Whether it tells token ids and goes on from them (`continue_token_ids`)."""
        ...

    async def health(self) -> Health:
        """Ask how it is; never raises."""
        ...

    async def models(self) -> list[Model]:
        """The models that it serves."""
        ...

    def stream(self, call: GenerationCall) -> AsyncIterator[SseEvent]:
        """The events of a streamed answer, `[DONE]` left out; ends only after the server said so.

        Raises before the first event what the server refused (InvalidRequest, LimitReached,
        Unavailable), and UpstreamFailed when the connection breaks, stays silent for too long or
        ends without `[DONE]`.
        """
        ...

    def frames(self, call: GenerationCall) -> AsyncIterator[bytes]:
        """The same, to be passed on: whole events as they are framed, one or several at a time."""
        ...

    async def complete(self, call: GenerationCall) -> bytes:
        """The body of a whole answer; raises like `stream`."""
        ...

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        """How many tokens the prompt of these turns has; None when the server cannot tell.

        Raises what the server refused, and UpstreamFailed.
        """
        ...

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        """The tokens of a text, or of a conversation in the model's template; None when the server
        does not tell them. Raises what it refused, and UpstreamFailed.
        """
        ...

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        """The text of tokens; None and errors as `tokenize`."""
        ...

    async def load(self) -> Load | None:
        """How busy it is; None when it does not tell. Never raises."""
        ...

    async def abort(self, request_id: str) -> None:
        """Ask it to stop that call; its stream then ends with the usage so far. Never raises."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
