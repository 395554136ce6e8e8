"""One line of a batch: asked at a model server, billed, and written down with its bill.

Decides what the failure of a line means for the line. Does not know which line is next, nor when
it may begin.
"""

from dataclasses import dataclass

import msgspec

from tokenyard.jobs.batches.intake import Line
from tokenyard.jobs.batches.pacer import Pacer, Turn
from tokenyard.jobs.batches.ports import BatchStore
from tokenyard.jobs.batches.records import Batch, LineResult
from tokenyard.jobs.batches.rules.retrying import Course, backoff_seconds, decide
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import Reservation, UsageRow
from tokenyard.ledger.rules.pricing import Tier
from tokenyard.protocol.batches import AnswerHead
from tokenyard.protocol.errors import error_response
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.settings import BatchSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall
from tokenyard.vocabulary.errors import (
    InternalFailure,
    NotFound,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.ids import BatchId, IdPrefix
from tokenyard.vocabulary.reasons import Reason


@dataclass(slots=True)
class Work:
    """A line that has not ended, and how often it failed."""

    line: Line
    # Attempts that broke.
    attempts: int = 0
    # How often in a row it was sent away.
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """The line has to be run again, not before `seconds` have passed."""

    course: Course
    seconds: float
    error: TokenyardError


@dataclass(frozen=True, slots=True)
class _Answered:
    body: bytes
    usage: Usage
    finish: FinishReason


def line_id(batch: BatchId, number: int) -> str:
    """The name of a line in output files, and of its bill: the same however often it runs."""
    return f"batch_req_{batch.partition('_')[2]}_{number}"


class LineRunner:
    """Runs lines of all batches."""

    def __init__(
        self,
        store: BatchStore,
        settings: BatchSettings,
        *,
        pacer: Pacer,
        pool: UpstreamPool,
        ledger: Ledger,
        clock: Clock,
        randomness: Randomness,
        log: Log,
        metrics: GatewayMetrics,
    ) -> None:
        self._store = store
        self._settings = settings
        self._pacer = pacer
        self._pool = pool
        self._ledger = ledger
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._metrics = metrics

    async def run(self, batch: Batch, work: Work, turn: Turn) -> Again | None:
        """One attempt; None when the line has ended and its result is committed."""
        request_id = mint(IdPrefix.REQUEST, self._randomness)
        try:
            await self._attempt(batch, work, turn, request_id)
            return None
        except TokenyardError as error:
            failure = error
        except Exception as error:  # a fault of ours must not stop the other lines
            self._log.error(Event.BATCH_LINE_FAILED, error, batch=batch.id, line=work.line.number)
            failure = InternalFailure("Something broke on our side.")
        return await self._decide(batch, work, turn, request_id, failure)

    async def _attempt(self, batch: Batch, work: Work, turn: Turn, request_id: str) -> None:
        line = work.line
        window = self._window(line)
        reservation = await self._ledger.reserve(
            batch.caller,
            line.model,
            # As online: a token is never shorter than a byte.
            prompt_tokens=min(len(line.body), window),
            completion_tokens_max=min(line.tokens_max or window, window),
            tier=Tier.BATCH,
        )
        try:
            answered = await self._ask(line, request_id, batch.server_tags)
            row = self._ledger.bill(
                reservation,
                id=line_id(batch.id, line.number),
                usage=answered.usage,
                finish=answered.finish,
            )
            result = LineResult(
                number=line.number,
                custom_id=line.custom_id,
                request_id=request_id,
                status=200,
                body=_with_cost(answered.body, row),
                usage=answered.usage,
            )
            turn.settling = True
            await self._write_billed(batch.id, result, reservation, row)
        finally:
            self._ledger.release(reservation)

    def _window(self, line: Line) -> int:
        try:
            return self._pool.find(line.model).window()
        except NotFound as error:
            if self._pool.ready:
                raise
            # Not every server has told its models yet.
            raise Unavailable(error.message, reason=Reason.MODEL_LOADING) from None

    async def _ask(self, line: Line, request_id: str, tags: frozenset[str]) -> _Answered:
        call = GenerationCall(
            line.path, self._body(line), request_id, seconds_max=self._settings.line_seconds_max
        )
        with self._pool.lend(line.model, tags=tags) as upstream:
            body = await upstream.complete(call)
        self._pacer.note_answer(line.model)
        try:
            head = msgspec.json.decode(body, type=AnswerHead)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed("The model server answered something unreadable.") from error
        reasons = {choice.get("finish_reason") for choice in head.choices}
        finish = FinishReason.LENGTH if "length" in reasons else FinishReason.STOP
        return _Answered(body, head.usage.usage(), finish)

    def _body(self, line: Line) -> bytes:
        if not self._settings.priority:
            return line.body
        tree = msgspec.json.decode(line.body)
        return msgspec.json.encode({**tree, "priority": self._settings.priority})

    async def _decide(
        self, batch: Batch, work: Work, turn: Turn, request_id: str, error: TokenyardError
    ) -> Again | None:
        settings, told = self._settings, error.retry_after_seconds
        course = decide(
            error.status,
            error.reason,
            attempts=work.attempts + 1,
            attempts_max=settings.line_attempts_max,
        )
        if course is not Course.NO_MONEY:
            self._metrics.upstream_errors.labels(error.reason).inc()
        if course is Course.GIVE_UP:
            turn.settling = True
            await self._write_failed(batch.id, work.line, request_id, error)
            return None
        # Being sent away says nothing about the line, breaking may.
        if course is Course.RETRY:
            work.attempts, work.waits = work.attempts + 1, 0
        else:
            work.waits += 1
        if course is Course.AWAY:
            seconds = min(told or settings.retry_seconds_min, settings.retry_seconds_max)
        else:
            seconds = backoff_seconds(
                work.attempts if course is Course.RETRY else work.waits,
                seconds_min=settings.retry_seconds_min,
                seconds_max=settings.retry_seconds_max,
                # The month's end, for money.
                told=told if course is Course.WAIT else None,
            )
        if course in (Course.WAIT, Course.AWAY):
            away = course is Course.AWAY
            self._pacer.note_refusal(work.line.model, seconds, error.reason, away=away)
        return Again(course, seconds, error)

    async def _write_billed(
        self, batch: BatchId, result: LineResult, reservation: Reservation, row: UsageRow
    ) -> None:
        while True:
            write = self._store.finish_line(batch, result, row)
            try:
                new = await self._ledger.settle_with(reservation, row, write)
            except Unavailable:
                # The answer is here and costs a second time if it is lost: wait for the disk.
                await self._clock.sleep(self._settings.retry_seconds_min)
                continue
            self._metrics.batch_lines.labels("completed").inc(int(new))
            return

    async def _write_failed(
        self, batch: BatchId, line: Line, request_id: str, error: TokenyardError
    ) -> None:
        status, body, _ = error_response(error)
        result = LineResult(
            number=line.number,
            custom_id=line.custom_id,
            request_id=request_id,
            status=status,
            body=msgspec.json.encode(body).decode(),
        )
        while True:
            try:
                new = await self._store.finish_line(batch, result, None)
            except Unavailable:
                await self._clock.sleep(self._settings.retry_seconds_min)
                continue
            self._metrics.batch_lines.labels("failed").inc(int(new))
            return


def _with_cost(body: bytes, row: UsageRow) -> str:
    tree = msgspec.json.decode(body)
    cost = {"nanos": row.cost.nanos, "currency": row.cost.currency}
    return msgspec.json.encode({**tree, "cost": cost}).decode()
