"""How one response is written: what a model says into its log as it comes, then the end.

Decides in which order things become true: the log before any reader, the store (with the usage
row) before the last event; and that an answer goes on when its model server dies. Does not know
who asked, nor who reads.
"""

import asyncio
from dataclasses import dataclass, field, replace

from tokenyard.chat.generation import Generated, Piece, generate, spell_call
from tokenyard.chat.log_ports import ProductionStore
from tokenyard.chat.log_writer import Fenced, LogFull, Pen
from tokenyard.chat.ports import ChatStore
from tokenyard.chat.records import ItemKind, Response, ResponseStatus
from tokenyard.chat.rendering import INCOMPLETE_REASONS, MAX_OUTPUT_TOKENS, render_response
from tokenyard.chat.rules.continuing import Next, Patience, decide_next
from tokenyard.chat.rules.seam import Diverged, Part, Seam
from tokenyard.chat.transcript import Transcript
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import Reservation
from tokenyard.protocol import response_events as events
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.vocabulary.errors import (
    InternalFailure,
    InvalidRequest,
    TokenyardError,
    Unavailable,
)
from tokenyard.vocabulary.generation import FinishReason, Pace

# How long a model server may take to end a stream that it was asked to abort.
_ABORT_SECONDS = 5.0
# How long to wait for a model server that is away before looking again.
_AWAY_SECONDS = 0.25
# How often the end is tried to be stored, and how long to wait in between.
_END_ATTEMPTS = 20
_END_WAIT_SECONDS = 1.0

_FINISH = {
    ResponseStatus.COMPLETED: FinishReason.STOP,
    ResponseStatus.INCOMPLETE: FinishReason.LENGTH,
    ResponseStatus.CANCELLED: FinishReason.ABORT,
    ResponseStatus.FAILED: FinishReason.ERROR,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What every response of a process is written with."""

    store: ChatStore
    productions: ProductionStore
    pool: UpstreamPool
    ledger: Ledger
    tasks: TaskSupervisor
    clock: Clock
    metrics: GatewayMetrics
    log: Log
    patience: Patience


@dataclass(slots=True)
class Run:
    """A response that is being written in this process.

    request: what the model server is asked, as JSON.
    """

    response: Response
    request: bytes
    reservation: Reservation
    pen: Pen
    transcript: Transcript
    generated: Generated = field(default_factory=Generated)
    # Set before `stop`: how it ends when it is stopped from outside, or that it goes on elsewhere.
    stopped: ResponseStatus | None = None
    leaving: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Set once this process is done with it, however that came.
    done: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: int = 0
    # When this process began with it and showed the first of it, in monotonic seconds.
    begun_at: float = 0.0
    first_at: float | None = None


async def write_response(run: Run, desk: Desk) -> None:
    """Write it to its end: completed, incomplete, cancelled or failed.

    Or leave it as it is to whoever has taken it over, or is to do so.
    """
    try:
        run.begun_at = desk.clock.monotonic()
        if not run.pen.stream.ring.following:
            _begin(run, desk.ledger.currency)
        error = None if run.stopped else await _write_text(run, desk)
        run.response = replace(run.response, pace=_measure(run, desk.clock.monotonic()))
        await run.pen.flush()
        if run.leaving:
            await _hand_over(run, desk)
        else:
            await _end(run, error, desk)
    except Fenced:
        run.pen.stream.lose()
        desk.log.info(Event.RESPONSE_FENCED, response=run.response.id, epoch=run.pen.epoch)
    except Exception as error:  # readers must hear of the end, whatever broke
        desk.log.error(Event.TASK_FAILED, error, task=f"response {run.response.id}")
        try:
            broken = InternalFailure("Something broke on our side while the answer was written.")
            await _end(run, broken, desk)
        finally:
            # If even that cannot be stored, the next process finds it unfinished.
            run.pen.stream.lose()
    finally:
        run.pen.stream.waits = False
        run.done.set()


def _begin(run: Run, currency: str) -> None:
    body = render_response(run.response, currency)
    run.pen.write(events.ResponseCreated(response=body))
    run.pen.write(events.ResponseInProgress(response=body))


async def _write_text(run: Run, desk: Desk) -> TokenyardError | None:
    """Write until the answer ends or is stopped, on as many servers as it takes.

    Returns what broke it.
    """
    failures, away_since = 0, None
    while True:
        shown = run.generated.pieces
        error = await _attempt(run, desk)
        if error is None or run.stop.is_set():
            return error
        now = desk.clock.monotonic()
        if run.generated.pieces > shown:
            failures, away_since = 0, None
        failures += 1
        away_since = now if away_since is None else away_since
        match decide_next(
            error.reason,
            failures=failures,
            waited_seconds=now - away_since,
            patience=desk.patience,
        ):
            case Next.GIVE_UP:
                return error
            case Next.AFTER_A_WHILE:
                # Not being there is not a failure to answer.
                failures -= 1
                await _pause(run, desk)
            case Next.AT_ONCE:
                pass
        desk.log.info(Event.RESPONSE_CONTINUED, response=run.response.id, reason=error.reason)


async def _pause(run: Run, desk: Desk) -> None:
    """Wait a while, or until the answer is stopped."""
    waits = {
        desk.tasks.spawn(f"pause of {run.response.id}", desk.clock.sleep(_AWAY_SECONDS)),
        desk.tasks.spawn(f"stop of {run.response.id}", run.stop.wait()),
    }
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _attempt(run: Run, desk: Desk) -> TokenyardError | None:
    """Let one server work on it until it ends or is stopped; returns what broke it."""
    run.attempts += 1
    run.pen.stream.waits, run.pen.stream.progress = True, None
    call_id: str = run.response.id
    if run.attempts > 1 or run.pen.epoch > 1:
        # A server may still be busy with the call before.
        call_id = f"{call_id}.{run.pen.epoch}.{run.attempts}"
    try:
        tags = frozenset(run.response.options.server_tags)
        with desk.pool.lend(run.response.model, tags=tags) as upstream:
            spawn = desk.tasks.spawn
            writing = spawn(f"text of {call_id}", _show_text(run, upstream, call_id, desk.clock))
            stopping = spawn(f"stop of {call_id}", run.stop.wait())
            fencing = spawn(f"fence of {call_id}", run.pen.fenced.wait())
            every = {writing, stopping, fencing}
            try:
                await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
                if not writing.done():
                    # The server then ends the stream itself and tells what it counted.
                    await upstream.abort(call_id)
                    await asyncio.wait({writing}, timeout=_ABORT_SECONDS)
            finally:
                for task in every:
                    task.cancel()
                await asyncio.wait(every)
            if run.pen.fenced.is_set():
                raise Fenced
            return None if writing.cancelled() else writing.result()
    except TokenyardError as error:
        return error


async def _show_text(
    run: Run, upstream: Upstream, call_id: str, clock: Clock
) -> TokenyardError | None:
    generated = run.generated
    known = generated.tokens if upstream.continues else None
    seam = Seam(() if known else run.transcript.parts())
    call = spell_call(
        run.request,
        call_id,
        continues=upstream.continues,
        tokens=known or (),
        own_seed=run.response.sampling.seed is None,
    )
    if seam.open:
        # What is repeated brings its tokens with it.
        generated.tokens = []
    try:
        async for piece in generate(upstream, call, generated, run.pen.stream.reading):
            run.pen.stream.waits = False
            if run.stop.is_set():
                # Nobody was shown it; the text that is kept ends where the reader stopped it.
                generated.unshown += 1
            else:
                _show(run, piece, seam)
            if run.first_at is None and generated.pieces:
                run.first_at = clock.monotonic()
        if seam.open and not run.stop.is_set():
            _reset(run, Piece(tuple(seam.said), None))
    except LogFull:
        await upstream.abort(call_id)
        return InvalidRequest("The answer has more events than the log of a response may hold.")
    except TokenyardError as error:
        return error
    return None


def _show(run: Run, piece: Piece, seam: Seam) -> None:
    """Show a piece, unless it only repeats what was shown before another server died."""
    fresh = seam.take(piece.parts)
    if isinstance(fresh, Diverged):
        _reset(run, Piece(fresh.parts, None))
        return
    tokens, whole = piece.tokens, fresh.parts == piece.parts
    for part in fresh.parts:
        place = run.transcript.place()
        told = run.transcript.add(part)
        if not run.pen.holds(len(told)):
            run.transcript.go_back(place)
            raise LogFull
        for event in told:
            run.pen.write(event, tokens)
            tokens = tokens and ()
    if tokens and not seam.open and whole:
        run.pen.note(tokens)
    run.generated.show(piece if whole else replace(piece, parts=fresh.parts))


def _reset(run: Run, piece: Piece) -> None:
    """Say that the answer begins anew."""
    run.generated.reset()
    run.pen.write(run.transcript.reset(piece.parts), piece.tokens)
    run.generated.show(piece)


async def _hand_over(run: Run, desk: Desk) -> None:
    """Leave the answer to another process, which goes on after what is in the log."""
    if await desk.productions.release(run.response.id, run.pen.epoch):
        desk.log.info(Event.RESPONSE_HANDED_OVER, response=run.response.id)


def _measure(run: Run, now: float) -> Pace | None:
    """How fast it came, as far as one process saw all of it."""
    if run.first_at is None or run.pen.epoch > 1:
        return None
    return Pace(
        first_token_ms=_milliseconds(run.first_at - run.begun_at),
        total_ms=_milliseconds(now - run.begun_at),
        # A second server's queue says nothing of the first token.
        queue_ms=run.generated.queue_ms if run.attempts == 1 else None,
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _judge(run: Run, error: TokenyardError | None) -> ResponseStatus:
    """How it ended."""
    if run.stopped is not None:
        return run.stopped
    if error is not None:
        return ResponseStatus.FAILED
    if run.generated.finish in INCOMPLETE_REASONS:
        return ResponseStatus.INCOMPLETE
    return ResponseStatus.COMPLETED


def _conclude(run: Run, error: TokenyardError | None, at: float) -> Response:
    """The response in its final state, before money."""
    status = _judge(run, error)
    if status is not ResponseStatus.FAILED:
        error = None
    return replace(
        run.response,
        status=status,
        finished_at=at,
        incomplete_reason=INCOMPLETE_REASONS.get(str(run.generated.finish), MAX_OUTPUT_TOKENS)
        if status is ResponseStatus.INCOMPLETE
        else None,
        error_reason=error.reason if error else None,
        error_message=error.message if error else None,
        output=run.transcript.items(complete=status is ResponseStatus.COMPLETED),
    )


async def _end(run: Run, error: TokenyardError | None, desk: Desk) -> None:
    """Store the end, its bill and the log's last events in one transaction, then show them."""
    closing = _close_items(run, error)
    response = _conclude(run, error, desk.clock.now())
    usage = run.generated.counted()
    row = None
    if usage is not None:
        finish = _FINISH[response.status]
        row = desk.ledger.bill(run.reservation, id=response.id, usage=usage, finish=finish)
        response = replace(response, usage=usage, cost_nanos=row.cost.nanos)
    closing.append(_last_event(run, response, desk.ledger.currency))
    ending = run.pen.close(closing)
    for attempt in range(1, _END_ATTEMPTS + 1):
        storing = desk.store.finish_response(response, row, ending)
        try:
            if row is None:
                stored = await storing
            else:
                stored = await desk.ledger.settle_with(run.reservation, row, storing)
            break
        except Unavailable:
            if attempt == _END_ATTEMPTS:
                raise
            await desk.clock.sleep(_END_WAIT_SECONDS)
    if not stored:
        raise Fenced
    run.pen.show(ending)
    desk.log.info(
        Event.RESPONSE_DONE,
        response=response.id,
        status=response.status.value,
        reason=response.error_reason,
    )


def _close_items(run: Run, error: TokenyardError | None) -> list[events.ResponseEvent]:
    """The events of the last item's end."""
    complete = _judge(run, error) is ResponseStatus.COMPLETED
    begun: list[events.ResponseEvent] = []
    if complete and not run.transcript.entries:
        # An answer that says nothing is a message all the same.
        begun = run.transcript.add(Part(ItemKind.MESSAGE, ""))
    return begun + run.transcript.close(complete=complete)


def _last_event(run: Run, response: Response, currency: str) -> events.ResponseEvent:
    body = render_response(response, currency)
    match response.status:
        case ResponseStatus.COMPLETED:
            return events.ResponseCompleted(response=body)
        case ResponseStatus.FAILED:
            return events.ResponseFailed(response=body)
        case _:
            return events.ResponseIncomplete(response=body)
