"""One request on its way through the engine: what was asked, and what has come out so far.

The loop's thread writes and one reader on the event loop reads. Between them is a mailbox with room
for one piece: while the reader is slow, further text is merged into it, so memory stays bounded by
the answer and the loop never waits for a client.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.generation import FinishReason, SamplingParameters, Usage


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What the loop is asked for. The seed is chosen already; ranges are checked already."""

    prompt: tuple[int, ...]
    sampling: SamplingParameters
    seed: int
    # At least 1; prompt and answer together fit the context and the pool.
    tokens_max: int
    salt: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is new since the last piece. The last piece carries all fields below `text`."""

    text: str
    finish: FinishReason | None = None
    usage: Usage | None = None
    # Seconds from arrival to the first scheduling, the first token and the end.
    queue_seconds: float = 0.0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    error: TokenyardError | None = None


class Generation:
    """The reader's end. Iterate once to the end, or call `abort`; both are safe after the end.

    abort: tells the loop to stop; called at most once.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: Piece | None = None
        self._ready = asyncio.Event()
        self._ended = False
        self._aborted = False
        # True once the caller asked for an early end and still wants to hear what was counted.
        self.cut_short = False

    def put(self, piece: Piece) -> bool:
        """From the loop's thread: add a piece; whether the reader has to be woken."""
        with self._lock:
            before = self._waiting
            self._waiting = piece if before is None else _merge(before, piece)
            return before is None

    def wake(self) -> None:
        """On the event loop: a piece is waiting."""
        self._ready.set()

    def abort(self) -> None:
        """Stop generating; what is waiting is dropped by the loop."""
        if not self._ended and not self._aborted:
            self._aborted = True
            self._abort()

    def cut(self) -> None:
        """Stop generating, and let the reader have the end with its counts."""
        self.cut_short = True
        self.abort()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces until the one with `finish`; raises the error that ended the generation."""
        while not self._ended:
            await self._ready.wait()
            self._ready.clear()
            with self._lock:
                piece, self._waiting = self._waiting, None
            if piece is None:
                continue
            self._ended = piece.finish is not None
            if piece.error is None:
                yield piece
                continue
            if piece.text:
                yield Piece(piece.text)
            raise piece.error


def _merge(first: Piece, then: Piece) -> Piece:
    return Piece(
        first.text + then.text,
        then.finish,
        then.usage,
        then.queue_seconds,
        then.first_token_seconds,
        then.total_seconds,
        then.error,
    )
