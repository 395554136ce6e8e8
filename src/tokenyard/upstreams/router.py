"""One call on its way: asks a server, and another one when that fails before the first token.

Keeps the contract of `ports.Upstream`, so that whoever generates need not know of tries. Tells
each server's breaker what became of its calls. Does not choose servers; the pool does.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol, TypeVar

import msgspec

from tokenyard.protocol.models import Model
from tokenyard.protocol.sse import SseEvent
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.hedging import Runner, race
from tokenyard.upstreams.members import Member
from tokenyard.upstreams.moderation import Moderation
from tokenyard.upstreams.ports import GenerationCall, Health, Upstream
from tokenyard.upstreams.rules.hedging import HedgeRule, may_hedge
from tokenyard.vocabulary.errors import LimitReached, TokenyardError, Unavailable, UpstreamFailed
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")
# How a call is begun at a server.
Opening = Callable[[Upstream, GenerationCall], AsyncIterator[T]]


class Switchboard(Protocol):
    """What the pool does for a call under way."""

    def hedge(self, first: Member, model: str, tags: frozenset[str]) -> Member | None:
        """A second server for a call at which the first is silent; None when none may be asked."""
        ...

    def leave(self, member: Member, error: TokenyardError | None) -> None:
        """The call goes on at another server; error: None when that one has not broken."""
        ...

    def note_hedge(self, outcome: str) -> None:
        """Which of two servers spoke first: `first` or `second`."""
        ...

    def another(
        self, model: str, tried: frozenset[str], tags: frozenset[str]
    ) -> tuple[Member, str] | None:
        """The next server to try, and the model to ask it for; None when there is none."""
        ...

    def move(self, before: Member, after: Member) -> None:
        """The call is at another server now."""
        ...

    def note(self, member: Member, error: TokenyardError | None) -> None:
        """What became of a call to a server; None is an answer."""
        ...


class RoutedUpstream:
    """The servers that may answer one call; `served_by` is the last that was asked."""

    def __init__(
        self,
        board: Switchboard,
        member: Member,
        model: str,
        *,
        asked: str,
        clock: Clock,
        attempts_max: int,
        total_seconds: float,
        moderation: Moderation | None = None,
        hedge: HedgeRule | None = None,
        tags: frozenset[str] = frozenset(),
        tasks: TaskSupervisor,
    ) -> None:
        self._board = board
        self._clock = clock
        self._model = model
        # The model that this server is asked for; another one where it stands in.
        self._asked = asked
        self._attempts_max = attempts_max
        self._total_seconds = total_seconds
        self._moderation = moderation
        self._hedge = hedge
        self._tags = tags
        self._tasks = tasks
        self.member = member

    @property
    def served_by(self) -> str:
        """The name of the server that was asked last."""
        return self.member.name

    @property
    def continues(self) -> bool:
        """Whether that server goes on from tokens of the model that was asked for."""
        return self._asked == self._model and self._upstream().continues

    def stream(self, call: GenerationCall) -> AsyncGenerator[SseEvent, None]:
        return self._follow(call, lambda upstream, told: upstream.stream(told))

    def frames(self, call: GenerationCall) -> AsyncGenerator[bytes, None]:
        return self._follow(call, lambda upstream, told: upstream.frames(told))

    async def _follow(self, call: GenerationCall, open_at: Opening[T]) -> AsyncGenerator[T, None]:
        if self._moderation is not None:
            await self._moderation.check(call)
        ends = self._clock.monotonic() + self._total_seconds
        call = self._name_model(call)
        tried: set[str] = set()
        while True:
            begun = False
            try:
                async with aclosing(self._begin(call, open_at, tried)) as events:
                    async for event in events:
                        if not begun:
                            begun = True
                            self._board.note(self.member, None)
                        yield event
                        if self._clock.monotonic() >= ends:
                            raise UpstreamFailed(
                                f"The answer took longer than {self._total_seconds:g} s.",
                                reason=Reason.UPSTREAM_TIMEOUT,
                            )
                return
            except TokenyardError as error:
                self._board.note(self.member, error)
                if begun or not _passes(error):
                    raise
                tried.add(self.member.name)
                call = self._turn(call, tried, error)

    def _begin(
        self, call: GenerationCall, open_at: Opening[T], tried: set[str]
    ) -> AsyncGenerator[T, None]:
        rule = self._hedge
        if rule is None or not may_hedge(msgspec.json.decode(call.body)):
            return _open(open_at(self._upstream(), call))
        return self._hedged(call, open_at, rule, tried)

    async def _hedged(
        self, call: GenerationCall, open_at: Opening[T], rule: HedgeRule, tried: set[str]
    ) -> AsyncGenerator[T, None]:
        """The answer of whichever server speaks first; `member` is then that one."""
        runners = [Runner(self.member, _open(open_at(self._upstream(), call)))]

        def second() -> Runner[T] | None:
            other = self._board.hedge(self.member, self._asked, self._tags)
            if other is None:
                return None
            if other.upstream is None:
                self._board.leave(other, None)
                return None
            runners.append(Runner(other, _open(open_at(other.upstream, call))))
            return runners[-1]

        def lost(runner: Runner[T], error: TokenyardError | None) -> None:
            if error is not None:
                tried.add(runner.member.name)
            if runner.member is self.member:
                self.member = runners[-1].member
            self._board.leave(runner.member, error)

        winner, event = await race(
            runners[0], rule.seconds, second, lost=lost, tasks=self._tasks, clock=self._clock
        )
        if len(runners) > 1:
            self._board.note_hedge("first" if winner is runners[0] else "second")
        async with aclosing(winner.stream) as rest:
            if event is not None:
                yield event
            async for event in rest:
                yield event

    async def complete(self, call: GenerationCall) -> bytes:
        if self._moderation is not None:
            await self._moderation.check(call)
        tried: set[str] = set()
        call = self._name_model(call)
        while True:
            try:
                body = await self._upstream().complete(call)
            except TokenyardError as error:
                self._board.note(self.member, error)
                # Of what broke half-way it is not known how far it came.
                if not _passes(error) or isinstance(error, UpstreamFailed):
                    raise
                tried.add(self.member.name)
                call = self._turn(call, tried, error)
            else:
                self._board.note(self.member, None)
                return body

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        return await self._upstream().count_tokens(model, turns)

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        return await self._upstream().tokenize(model, prompt)

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        return await self._upstream().detokenize(model, tokens)

    async def health(self) -> Health:
        return await self._upstream().health()

    async def models(self) -> list[Model]:
        return await self._upstream().models()

    async def load(self) -> Load | None:
        return await self._upstream().load()

    async def abort(self, request_id: str) -> None:
        if self.member.upstream is not None:
            await self.member.upstream.abort(request_id)

    async def close(self) -> None:
        """The pool owns the servers; there is nothing to give back here."""

    def _upstream(self) -> Upstream:
        if self.member.upstream is None:
            raise Unavailable(
                "The model server has just gone.",
                reason=Reason.UPSTREAM_UNAVAILABLE,
                retry_after_seconds=2.0,
            )
        return self.member.upstream

    def _turn(self, call: GenerationCall, tried: set[str], error: TokenyardError) -> GenerationCall:
        """The call as the next server is asked; raises the error when there is none."""
        if len(tried) >= self._attempts_max:
            raise error
        found = self._board.another(self._model, frozenset(tried), self._tags)
        if found is None:
            raise error
        after, asked = found
        self._board.move(self.member, after)
        self.member = after
        if asked == self._asked:
            return call
        self._asked = asked
        return _with_model(call, asked)

    def _name_model(self, call: GenerationCall) -> GenerationCall:
        return call if self._asked == self._model else _with_model(call, self._asked)


def _open(stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    if not isinstance(stream, AsyncGenerator):
        raise TypeError("a stream is an async generator, so that it can be closed")
    return stream


def _with_model(call: GenerationCall, model: str) -> GenerationCall:
    tree = msgspec.json.decode(call.body)
    return replace(call, body=msgspec.json.encode({**tree, "model": model}))


def _passes(error: TokenyardError) -> bool:
    """Whether another server may do better: it broke, is full or is away; the request is fine."""
    return isinstance(error, UpstreamFailed | Unavailable | LimitReached)
