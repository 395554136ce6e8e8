"""The engine's heart: a thread that plans a step, runs it and settles it, for ever.

On a device that computes beside us, the next step is planned and launched before the last one's
tokens are fetched; a sequence that turns out to have ended computes one token for nobody.

Decides nothing about order or memory (`rules.batching` does) nor about arithmetic (the runner
does). It ends sequences when their text is complete, and hands pieces over without waiting for
anyone. A step that fails takes its own sequences down with a named error, and nothing else.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenyard.engine.delayed import Immediate
from tokenyard.engine.generation import Generation, GenerationRequest, Piece, Progress
from tokenyard.engine.ports import Device, Draws, Runner, Verifier
from tokenyard.engine.rules.batching import Batch, Chunk, Sequence, StepPlan
from tokenyard.engine.rules.drawing import DrawRule, TokenReport, make_rule
from tokenyard.engine.rules.speculation import DraftBook
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.engine.writer import AnswerWriter
from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest, TokenyardError
from tokenyard.vocabulary.generation import FinishReason, SamplingParameters, Usage
from tokenyard.vocabulary.reasons import Reason


@dataclass(slots=True, eq=False)
class _Running:
    """The loop's side of one generation."""

    request: GenerationRequest
    sequence: Sequence
    reader: Generation
    writer: AnswerWriter
    arrived_at: float
    scheduled_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float = 0.0
    # Of tokens whose text has not been put yet.
    reports: list[TokenReport] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    # Its place in line that was told last; 0 for none.
    place: int = 0
    # Tokens of the prompt that have been reported; the first one has no report.
    prompt_known: int = 1
    # Of the prompt, from its second token on; put with the first piece of text.
    prompt: list[TokenReport] = field(default_factory=list)
    # The sum of what the model makes of the prompt's tokens, as far as it has come.
    vector: list[float] = field(default_factory=list)

    def take_news(self, text: str) -> Piece:
        """The text with what belongs to it: reports and tokens that have not been put yet."""
        replayed, self.writer.replayed = self.writer.replayed, ()
        news = Piece(
            text,
            reports=tuple(self.reports),
            tokens=tuple(self.tokens),
            lengths=tuple(self.lengths),
            replayed=replayed,
            prompt=tuple(self.prompt),
        )
        self.reports, self.tokens, self.lengths, self.prompt = [], [], [], []
        return news

    def take_sum(self, start: int, some: list[float]) -> None:
        """Add a chunk's sum; the chunk at 0 begins anew, after a preemption too."""
        same = some if start == 0 else [a + b for a, b in zip(self.vector, some, strict=True)]
        self.vector = same

    def take_prompt(self, start: int, reports: list[TokenReport]) -> None:
        """Reports on the prompt's tokens from `start` on; those known already are passed over."""
        self.prompt += reports[max(self.prompt_known - start, 0) :]
        self.prompt_known = max(self.prompt_known, start + len(reports))


@dataclass(frozen=True, slots=True)
class _Add:
    id: int
    request: GenerationRequest
    reader: Generation
    arrived_at: float


@dataclass(frozen=True, slots=True)
class _Abort:
    id: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step that was launched and not yet settled."""

    plan: StepPlan
    ticket: Any


class _Stop:
    """Ends the thread; what still runs is aborted."""


_Command = _Add | _Abort | _Stop


class StepLoop:
    """Owns the batch and the thread. Only `add`, `abort`, `start` and `stop` are for other threads.

    ended: called on the event loop with the id of each generation that is over.
    broken: called on the event loop when the thread has met a fault of its own and ends.
    """

    def __init__(
        self,
        runner: Runner | Device,
        batch: Batch,
        tokenizer: Tokenizer,
        *,
        clock: Clock,
        log: Log,
        metrics: EngineMetrics,
        ended: Callable[[int], None],
        broken: Callable[[], None],
    ) -> None:
        self._device = runner if isinstance(runner, Device) else Immediate(runner)
        # What is planned ahead of its tokens cannot be guessed at.
        self._guesses = isinstance(runner, Verifier) and runner.verifies_drafts
        self._flights: deque[_Flight] = deque()
        self._batch = batch
        self._tokenizer = tokenizer
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._ended = ended
        self._broken = broken
        self._events = asyncio.get_running_loop()
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._to_wake: list[Generation] = []
        self._to_end: list[int] = []
        self._thread = threading.Thread(target=self._live, name="engine-steps", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, id: int, request: GenerationRequest, reader: Generation) -> None:
        """Queue a request; ids grow with arrival and are never used twice."""
        self._commands.put(_Add(id, request, reader, self._clock.monotonic()))

    def abort(self, id: int) -> None:
        """End that generation soon; quiet when it is over."""
        self._commands.put(_Abort(id))

    def stop(self) -> None:
        """Abort everything and wait for the thread, which takes up to one step."""
        self._commands.put(_Stop())
        self._thread.join()

    def _live(self) -> None:
        finish, failure = FinishReason.ABORT, None
        try:
            while self._take_commands():
                plan = self._batch.plan_step()
                self._note_plan(plan)
                if plan.chunks:
                    self._launch(plan)
                while len(self._flights) > (self._device.lag if plan.chunks else 0):
                    self._land(self._flights.popleft())
                self._hand_over()
                self._note_state()
        except Exception as error:
            # A fault of ours: the books may be wrong, so the process has to be started anew.
            self._log.error(Event.ENGINE_STEP_FAILED, error, cause="loop")
            finish = FinishReason.ERROR
            failure = InternalFailure(
                "The model server broke down.", reason=Reason.GENERATION_FAILED
            )
            self._events.call_soon_threadsafe(self._broken)
        for running in list(self._running.values()):
            self._finish(running, finish, error=failure)
        self._hand_over()

    def _take_commands(self) -> bool:
        """Take in what has arrived, waiting only when there is nothing to compute."""
        while True:
            try:
                command = self._commands.get(block=not self._running and not self._flights)
            except queue.Empty:
                return True
            if isinstance(command, _Stop):
                return False
            if isinstance(command, _Add):
                self._take_in(command)
            elif (running := self._running.get(command.id)) is not None:
                self._finish_now(running, FinishReason.ABORT)

    def _take_in(self, command: _Add) -> None:
        request = command.request
        sequence = Sequence(
            command.id,
            [*request.prompt, *request.before],
            priority=request.priority,
            # What is cached for one adapter is not found by another, whatever salt is asked for.
            salt=f"{request.adapter}/{request.salt}",
            full_count=len(request.prompt) + request.tokens_max,
            waits_for_tokens=_counts_tokens(request.sampling) or request.grammar is not None,
            prompt_top=request.sampling.prompt_top,
            embeds=request.embeds,
            adapter=request.adapter,
            book=DraftBook() if self._guesses and _may_be_guessed(request) else None,
        )
        sequence.prompt_count = len(request.prompt)
        if request.leader is not None and (leader := self._running.get(request.leader)):
            sequence.leader = leader.sequence
        running = self._running[command.id] = _Running(
            request=request,
            sequence=sequence,
            reader=command.reader,
            writer=AnswerWriter(self._tokenizer, request),
            arrived_at=command.arrived_at,
        )
        self._batch.add(sequence)
        try:
            ended = running.writer.replay(request.before)
        except InvalidRequest as error:
            self._finish_now(running, FinishReason.ERROR, error)
            return
        if ended is not None:
            self._finish_now(running, ended)

    def _finish_now(
        self, running: _Running, finish: FinishReason, error: TokenyardError | None = None
    ) -> None:
        """End a generation between two steps."""
        self._finish(running, finish, error=error)
        self._hand_over()
        self._note_state()

    def _launch(self, plan: StepPlan) -> None:
        try:
            ticket = self._device.launch(plan.chunks, self._draw_rules(plan))
        except Exception as error:
            # Whatever broke in the arithmetic ends this step's sequences and not the server.
            self._fail_step(plan, error)
            return
        self._batch.advance(plan)
        self._flights.append(_Flight(plan, ticket))

    def _land(self, flight: _Flight) -> None:
        """Settle a step. Sequences that ended since its launch are passed over."""
        chunks = flight.plan.chunks
        try:
            drawn = self._device.collect(flight.ticket)
        except Exception as error:
            # As above: a device tells its faults when it is waited for.
            self._fail_step(flight.plan, error)
            return
        for chunk in chunks:
            number = chunk.sequence.id
            if chunk.draws and drawn[number] is None and number in self._running:
                self._log.error(Event.ENGINE_STEP_FAILED, sequence=number, cause="nan")
                failure = InternalFailure(
                    "The model put out a value that is not a number.",
                    reason=Reason.GENERATION_FAILED,
                )
                self._fail(chunk.sequence, failure)
        tokens = {key: token for key, token in drawn.items() if token is not None}
        reports = drawn.reports if isinstance(drawn, Draws) else {}
        more = drawn.more if isinstance(drawn, Draws) else {}
        self._batch.learn(flight.plan, tokens, more)
        _note_drafts(self._metrics, chunks, more)
        now = self._clock.monotonic()
        for chunk in chunks:
            running = self._running.get(chunk.sequence.id)
            if running is not None and (news := _read_prompt(running, chunk, drawn, now)):
                self._put(running, news)
            if chunk.draws and running is not None:
                if chunk.sequence.id in reports:
                    running.reports.append(reports[chunk.sequence.id])
                for token in (tokens[chunk.sequence.id], *more.get(chunk.sequence.id, ())):
                    if chunk.sequence.id in self._running:
                        self._book(running, token, now)

    def _fail_step(self, plan: StepPlan, error: Exception) -> None:
        self._log.error(Event.ENGINE_STEP_FAILED, error, sequences=len(plan.chunks))
        failure = InternalFailure(
            "The model failed while generating.", reason=Reason.GENERATION_FAILED
        )
        if isinstance(error, MemoryError):
            failure = InternalFailure(
                "The model server ran out of memory in this step.",
                reason=Reason.STEP_OUT_OF_MEMORY,
            )
        for chunk in plan.chunks:
            if chunk.sequence.id in self._running:
                self._fail(chunk.sequence, failure)

    def _draw_rules(self, plan: StepPlan) -> dict[int, DrawRule]:
        return {
            chunk.sequence.id: _rule_of(self._running[chunk.sequence.id], self._tokenizer.end_ids)
            for chunk in plan.chunks
            if chunk.draws
        }

    def _book(self, running: _Running, token: int, now: float) -> None:
        """Turn a new token into text, and end the answer if it is complete."""
        self._metrics.generated_tokens.inc()
        if running.first_token_at is None:
            running.first_token_at = now
            self._metrics.first_token.observe(now - running.arrived_at)
        else:
            self._metrics.between_tokens.observe(now - running.last_token_at)
        running.last_token_at = now
        running.tokens.append(token)
        try:
            written = running.writer.push(token)
        except InternalFailure as failure:
            self._fail(running.sequence, failure)
            return
        running.lengths.append(len(written.text))
        if not written.shown and running.reports:
            # A token without a text has no report either.
            running.reports.pop()
        if written.finish is not None:
            self._finish(running, written.finish, written.text)
        elif written.text:
            self._put(running, running.take_news(written.text))

    def _fail(self, sequence: Sequence, error: TokenyardError) -> None:
        self._finish(self._running[sequence.id], FinishReason.ERROR, error=error)

    def _finish(
        self,
        running: _Running,
        finish: FinishReason,
        text: str = "",
        error: TokenyardError | None = None,
    ) -> None:
        """Give the blocks back, count the usage, and put the last piece."""
        now = self._clock.monotonic()
        self._batch.end(running.sequence)
        del self._running[running.sequence.id]
        self._metrics.finished.labels(finish.value).inc()
        self._metrics.end_to_end.observe(now - running.arrived_at)
        scheduled_at = now if running.scheduled_at is None else running.scheduled_at
        first_at = now if running.first_token_at is None else running.first_token_at
        piece = replace(
            running.take_news(text),
            finish=finish,
            vector=tuple(one / running.sequence.prompt_count for one in running.vector),
            usage=Usage(
                prompt_tokens=running.sequence.prompt_count,
                completion_tokens=running.writer.generated,
                cached_tokens=_count_cached(running.sequence),
            ),
            queue_seconds=scheduled_at - running.arrived_at,
            first_token_seconds=first_at - running.arrived_at,
            total_seconds=now - running.arrived_at,
            error=error,
        )
        self._put(running, piece)
        self._to_end.append(running.sequence.id)

    def _put(self, running: _Running, piece: Piece) -> None:
        if running.reader.put(piece):
            self._to_wake.append(running.reader)

    def _hand_over(self) -> None:
        """Wake the readers, with one call to the event loop for all of a step's pieces."""
        if not self._to_wake and not self._to_end:
            return
        wake, self._to_wake = self._to_wake, []
        end, self._to_end = self._to_end, []

        def deliver() -> None:
            for reader in wake:
                reader.wake()
            for number in end:
                self._ended(number)

        self._events.call_soon_threadsafe(deliver)

    def _note_plan(self, plan: StepPlan) -> None:
        now = self._clock.monotonic()
        for sequence in plan.admitted:
            running = self._running[sequence.id]
            if running.scheduled_at is None:
                running.scheduled_at = now
                self._metrics.queue.observe(now - running.arrived_at)
                self._metrics.prompt_tokens.inc(sequence.prompt_count)
                self._metrics.cached_tokens.inc(_count_cached(sequence))
        if plan.preempted:
            self._metrics.preemptions.inc(len(plan.preempted))
        if plan.chunks:
            self._metrics.step_tokens.observe(plan.token_count)
        for running, news in _read_places(self._batch.waiting, self._running):
            self._put(running, news)

    def _note_state(self) -> None:
        batch = self._batch
        self._metrics.running.set(len(batch.running))
        self._metrics.waiting.set(len(batch.waiting))
        self._metrics.kv_usage.set(batch.pool.used / batch.pool.block_count)
        if not self._running:
            batch.pool.check_integrity()


def _read_places(
    waiting: Iterable[Sequence], known: Mapping[int, _Running]
) -> Iterable[tuple[_Running, Piece]]:
    """What those hear that asked, and whose place in line is another one than before."""
    for place, sequence in enumerate(waiting, start=1):
        running = known[sequence.id]
        asked = running.request.tells_progress and running.first_token_at is None
        if asked and running.place != place:
            running.place = place
            progress = Progress(sequence.prompt_count, 0, 0, seconds=0.0, place=place)
            yield running, Piece("", progress=progress)


def _read_prompt(
    running: _Running, chunk: Chunk, drawn: dict[int, int | None], now: float
) -> Piece | None:
    """Keep a step's reports on a prompt; how far the prompt has come, for those who asked."""
    if isinstance(drawn, Draws) and running.sequence.id in drawn.prompts:
        running.take_prompt(*drawn.prompts[running.sequence.id])
    if isinstance(drawn, Draws) and running.sequence.id in drawn.sums:
        running.take_sum(chunk.start, drawn.sums[running.sequence.id])
    total = running.sequence.prompt_count
    if not running.request.tells_progress or chunk.start >= total:
        return None
    progress = Progress(
        total=total,
        cached=_count_cached(running.sequence),
        processed=min(chunk.start + chunk.count, total),
        seconds=now - (running.scheduled_at or now),
    )
    return Piece("", progress=progress)


def _count_cached(sequence: Sequence) -> int:
    """Of the prompt; the cache may have held the beginning of the answer too."""
    return min(sequence.cached_count or 0, sequence.prompt_count)


def _rule_of(running: _Running, end_ids: frozenset[int]) -> DrawRule:
    """How the sequence's next token is drawn."""
    sequence, writer = running.sequence, running.writer
    return make_rule(
        running.request.sampling,
        seed=running.request.seed,
        position=len(sequence.tokens),
        generated=len(sequence.tokens) - sequence.prompt_count,
        end_ids=end_ids,
        banned=writer.banned(),
        allowed=writer.allowed(),
        formed=writer.formed,
    )


def _note_drafts(
    metrics: EngineMetrics, chunks: Iterable[Chunk], more: Mapping[int, list[int]]
) -> None:
    guessed = sum(len(chunk.drafts) for chunk in chunks)
    if guessed:
        metrics.draft_tokens.inc(guessed)
        metrics.accepted_tokens.inc(sum(map(len, more.values())))


def _may_be_guessed(request: GenerationRequest) -> bool:
    """Whether seed and position alone make each draw, and nothing is told beside its token."""
    sampling = request.sampling
    told = sampling.report_top is not None or sampling.min_tokens > 0
    return not told and request.grammar is None and not _counts_tokens(sampling)


def _counts_tokens(sampling: SamplingParameters) -> bool:
    """Whether a draw depends on which tokens came before, beyond what the model makes of them."""
    penalties = (sampling.frequency_penalty, sampling.presence_penalty)
    counted = sampling.repetition_penalty != 1.0 or any(penalties)
    return counted or bool(sampling.bad_words)
