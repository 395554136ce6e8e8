"""How one response is written: text into its log as it comes, then the end.

Decides in which order things become true: the log before any reader, the store (with the usage
row) before the last event. Does not know who asked, nor who reads.
"""

import asyncio
from dataclasses import dataclass, field, replace

from tokenyard.chat.generation import Generated, chat_call, generate
from tokenyard.chat.ports import ChatStore
from tokenyard.chat.records import Item, Response, ResponseStatus
from tokenyard.chat.rendering import MAX_OUTPUT_TOKENS, render_item, render_response
from tokenyard.chat.rules.stream_log import LogFull
from tokenyard.chat.streams import LiveStream
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import Reservation
from tokenyard.protocol import response_events as events
from tokenyard.protocol.responses import OutputText
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.vocabulary.errors import (
    InternalFailure,
    InvalidRequest,
    TokenyardError,
    Unavailable,
)
from tokenyard.vocabulary.generation import FinishReason
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

# How long a model server may take to end a stream that it was asked to abort.
_ABORT_SECONDS = 5.0

_FINISH = {
    ResponseStatus.COMPLETED: FinishReason.STOP,
    ResponseStatus.INCOMPLETE: FinishReason.LENGTH,
    ResponseStatus.CANCELLED: FinishReason.ABORT,
    ResponseStatus.FAILED: FinishReason.ERROR,
}


@dataclass(slots=True)
class Run:
    """A response that is being written in this process."""

    response: Response
    turns: tuple[Message, ...]
    reservation: Reservation
    stream: LiveStream
    item: Item
    generated: Generated = field(default_factory=Generated)
    # Set together: how it ends when it is stopped from outside, and the signal to stop.
    stopped: ResponseStatus | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


async def write_response(
    run: Run,
    *,
    store: ChatStore,
    pool: UpstreamPool,
    ledger: Ledger,
    tasks: TaskSupervisor,
    clock: Clock,
    log: Log,
) -> None:
    """Write it to its end: completed, incomplete, cancelled or failed, but always one of them."""
    try:
        _begin(run, ledger.currency)
        error = await _write_text(run, pool, tasks)
        response = await _settle(run, _conclude(run, error, clock.now()), store, ledger)
    except Exception as error:  # readers must hear of the end, whatever broke
        log.error(Event.TASK_FAILED, error, task=f"response {run.response.id}")
        broken = InternalFailure("Something broke on our side while the answer was written.")
        response = _conclude(run, broken, clock.now())
    _tell_end(run, response, ledger.currency)
    log.info(
        Event.RESPONSE_DONE,
        response=response.id,
        status=response.status.value,
        reason=response.error_reason,
    )


def _begin(run: Run, currency: str) -> None:
    body = render_response(run.response, currency)
    item = render_item(run.item, "in_progress")
    item.content = []
    for event in (
        events.ResponseCreated(response=body),
        events.ResponseInProgress(response=body),
        events.OutputItemAdded(item=item),
        events.ContentPartAdded(item_id=run.item.id, part=OutputText(text="")),
    ):
        run.stream.append(event)


async def _write_text(run: Run, pool: UpstreamPool, tasks: TaskSupervisor) -> TokenyardError | None:
    """Append text as it is generated, until it ends or is stopped; returns what broke it."""
    try:
        with pool.lend(run.response.model) as upstream:
            writing = tasks.spawn(f"text of {run.response.id}", _append_text(run, upstream))
            stopping = tasks.spawn(f"stop of {run.response.id}", run.stop.wait())
            try:
                await asyncio.wait({writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not writing.done():
                    # The server then ends the stream itself and tells what it counted.
                    await upstream.abort(run.response.id)
                    await asyncio.wait({writing}, timeout=_ABORT_SECONDS)
            finally:
                stopping.cancel()
                writing.cancel()
                await asyncio.wait({writing, stopping})
            return None if writing.cancelled() else writing.result()
    except TokenyardError as error:
        return error


async def _append_text(run: Run, upstream: Upstream) -> TokenyardError | None:
    response = run.response
    call = chat_call(
        response.model,
        run.turns,
        response.sampling,
        response.id,
        text_format=response.options.text_format,
    )
    try:
        async for delta in generate(upstream, call, run.generated):
            if run.stopped is None:
                run.stream.append(events.OutputTextDelta(item_id=run.item.id, delta=delta))
            else:
                # Nobody was shown it; the text that is kept ends where the reader stopped it.
                run.generated.unshown += 1
    except LogFull:
        await upstream.abort(run.response.id)
        return InvalidRequest("The answer has more events than the log of a response may hold.")
    except TokenyardError as error:
        return error
    return None


def _conclude(run: Run, error: TokenyardError | None, at: float) -> Response:
    """The response in its final state, before money."""
    status = ResponseStatus.COMPLETED
    if run.stopped is not None:
        status = run.stopped
    elif error is not None:
        status = ResponseStatus.FAILED
    elif run.generated.finish == FinishReason.LENGTH:
        status = ResponseStatus.INCOMPLETE
    if run.stopped is ResponseStatus.FAILED:
        error = Unavailable("The server is stopping.", reason=Reason.SHUTTING_DOWN)
    if status is not ResponseStatus.FAILED:
        error = None
    text = run.generated.shown_text()
    complete = status is ResponseStatus.COMPLETED
    return replace(
        run.response,
        status=status,
        finished_at=at,
        incomplete_reason=MAX_OUTPUT_TOKENS if status is ResponseStatus.INCOMPLETE else None,
        error_reason=error.reason if error else None,
        error_message=error.message if error else None,
        output=replace(run.item, text=text, complete=complete) if text or complete else None,
    )


async def _settle(run: Run, response: Response, store: ChatStore, ledger: Ledger) -> Response:
    """Store the end and its bill in one transaction; returns the response with what it cost."""
    usage = run.generated.counted()
    if usage is None:
        await store.finish_response(response, None)
        return response
    finish = _FINISH[response.status]
    row = ledger.bill(run.reservation, id=response.id, usage=usage, finish=finish)
    response = replace(response, usage=usage, cost_nanos=row.cost.nanos)
    await ledger.settle_with(run.reservation, row, store.finish_response(response, row))
    return response


def _tell_end(run: Run, response: Response, currency: str) -> None:
    text, item_id = run.generated.shown_text(), run.item.id
    if response.output is not None:
        try:
            run.stream.append(events.OutputTextDone(item_id=item_id, text=text))
            run.stream.append(events.ContentPartDone(item_id=item_id, part=OutputText(text=text)))
            run.stream.append(events.OutputItemDone(item=render_item(response.output)))
        except LogFull:
            # Room is kept for the last event, and that one carries the whole answer too.
            pass
    body = render_response(response, currency, run.generated.timings)
    match response.status:
        case ResponseStatus.COMPLETED:
            run.stream.append(events.ResponseCompleted(response=body), final=True)
        case ResponseStatus.FAILED:
            run.stream.append(events.ResponseFailed(response=body), final=True)
        case _:
            run.stream.append(events.ResponseIncomplete(response=body), final=True)
