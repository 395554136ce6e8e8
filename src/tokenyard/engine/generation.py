"""One request on its way through the engine: what was asked, and what has come out so far.

The loop's thread writes and one reader on the event loop reads. Between them is a mailbox with room
for one piece: while the reader is slow, further text is merged into it, so memory stays bounded by
the answer and the loop never waits for a client.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from tokenyard.engine.grammar import Grammar
from tokenyard.engine.rules.drawing import TokenReport
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
    # Of a further answer to the same prompt: the id of the first one, whose blocks it will share.
    leader: int | None = None
    # What the answer has to look like; None for free text.
    grammar: Grammar | None = None
    # Tokens of the answer that were generated elsewhere; they count in every way but are not sent.
    before: tuple[int, ...] = ()
    # Whether the reader hears its place in line, and how far the prompt has been read.
    tells_progress: bool = False
    # Whether the prompt's vector is wanted, and no answer; `tokens_max` is 1 then.
    embeds: bool = False
    # Number of the adapter; 0 for none.
    adapter: int = 0

    @property
    def known_count(self) -> int:
        """Tokens to compute before the first new one."""
        return len(self.prompt) + len(self.before)


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a prompt has been read. seconds: since the request was first scheduled.

    place: in the line of those that wait, the next one first; 0 once it is read.
    """

    total: int
    cached: int
    processed: int
    seconds: float
    place: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is new since the last piece. The last piece has all fields from `finish` on."""

    text: str
    # Of the tokens that are new since the last piece, where the request asked for reports.
    reports: tuple[TokenReport, ...] = ()
    # Those tokens; the last piece has what was drawn without adding text, such as an end token.
    tokens: tuple[int, ...] = ()
    # How many letters of the text each of them added.
    lengths: tuple[int, ...] = ()
    # Of the first piece of an answer that was begun elsewhere: what each of those tokens added.
    replayed: tuple[str, ...] = ()
    # Of the prompt's tokens from the second one on, once, with the first token.
    prompt: tuple[TokenReport, ...] = ()
    progress: Progress | None = None
    # The mean of what the model makes of the prompt's tokens; with the last piece.
    vector: tuple[float, ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None
    # Seconds from arrival to the first scheduling, the first token and the end.
    queue_seconds: float = 0.0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    error: TokenyardError | None = None

    def then(self, next: "Piece") -> "Piece":
        """This piece and the one after it as one."""
        return replace(
            next,
            text=self.text + next.text,
            reports=self.reports + next.reports,
            tokens=self.tokens + next.tokens,
            lengths=self.lengths + next.lengths,
            replayed=self.replayed + next.replayed,
            prompt=self.prompt + next.prompt,
            progress=next.progress or self.progress,
        )


class Generation:
    """The reader's end. Iterate once to the end, or call `abort`; both are safe after the end.

    abort: tells the loop to stop; called at most once.
    """

    def __init__(self, abort: Callable[[], None], ready: asyncio.Event | None = None) -> None:
        self._abort = abort
        self._lock = threading.Lock()
        self._waiting: Piece | None = None
        self._ready = asyncio.Event() if ready is None else ready
        self._ended = False
        self._aborted = False

    def put(self, piece: Piece) -> bool:
        """From the loop's thread: add a piece; whether the reader has to be woken."""
        with self._lock:
            before = self._waiting
            self._waiting = piece if before is None else before.then(piece)
            return before is None

    def wake(self) -> None:
        """On the event loop: a piece is waiting."""
        self._ready.set()

    def abort(self) -> None:
        """Stop generating; what is waiting is dropped by the loop."""
        if not self._ended and not self._aborted:
            self._aborted = True
            self._abort()

    @property
    def ended(self) -> bool:
        """Whether the reader has had the last piece."""
        return self._ended

    def take(self) -> Piece | None:
        """What has arrived, if anything; raises the error that ended the generation."""
        with self._lock:
            piece, self._waiting = self._waiting, None
        if piece is None:
            return None
        if piece.error is not None and piece.text:
            # The text first; the error is left for the next call.
            with self._lock:
                self._waiting = replace(
                    piece, text="", reports=(), tokens=(), lengths=(), replayed=(), prompt=()
                )
            self._ready.set()
            return replace(piece, finish=None, usage=None, error=None)
        self._ended = piece.finish is not None
        if piece.error is not None:
            raise piece.error
        return piece

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces until the one with `finish`; raises the error that ended the generation."""
        while not self._ended:
            await self._ready.wait()
            self._ready.clear()
            if (piece := self.take()) is not None:
                yield piece


class GenerationGroup:
    """The n generations of one request, read as one. They share the event that wakes the reader."""

    def __init__(self, generations: Sequence[Generation], ready: asyncio.Event) -> None:
        self._generations = generations
        self._ready = ready
        # True once the caller asked for an early end and still wants to hear what was counted.
        self.cut_short = False

    @property
    def size(self) -> int:
        return len(self._generations)

    def abort(self) -> None:
        """Stop all of them."""
        for generation in self._generations:
            generation.abort()

    def cut(self) -> None:
        """Stop all of them, and let the reader have the ends with their counts."""
        self.cut_short = True
        self.abort()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pieces with the number of their generation, until all have ended."""
        while not all(generation.ended for generation in self._generations):
            await self._ready.wait()
            self._ready.clear()
            for number, generation in enumerate(self._generations):
                if not generation.ended and (piece := generation.take()) is not None:
                    yield number, piece
