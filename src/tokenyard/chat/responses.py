"""Responses: a task owned by the server writes each one; connections only read its stream.

Decides which responses run, and who may find, cancel and read them. Does not know limits (the
gateway does), nor how one response is written (`writer` does).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tokenyard.chat.generation import Generated, Manner, spell_request
from tokenyard.chat.log_ports import LogStore, Orphan, Production
from tokenyard.chat.log_writer import LogWriter
from tokenyard.chat.ports import ThreadStore
from tokenyard.chat.progress import Progress, read_progress
from tokenyard.chat.records import Ask, Item, Response, ResponseStatus, Tip
from tokenyard.chat.rendering import render_response
from tokenyard.chat.streams import LiveStream, StreamRegistry
from tokenyard.chat.transcript import Transcript, begin_answer
from tokenyard.chat.windows import Windows
from tokenyard.chat.writer import Desk, Run, write_response
from tokenyard.ledger.records import Reservation
from tokenyard.protocol.responses import ResponseBody
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event
from tokenyard.vocabulary.errors import NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, IdPrefix, ItemId, ProducerId, ResponseId

_READ_CHUNKS = 500
# How long running answers may take to be left to others.
_LEAVE_SECONDS = 10.0
# How long a cancelled answer of another process may take to end, and how often that is looked for.
_ELSEWHERE_SECONDS = 10.0
_ELSEWHERE_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to one generation: money set aside, and a place that is given back at its end."""

    reservation: Reservation
    release: Callable[[], None]


class Responses:
    """All responses of this process."""

    def __init__(
        self,
        desk: Desk,
        *,
        producer: ProducerId,
        threads: ThreadStore,
        windows: Windows,
        streams: StreamRegistry,
        logs: LogStore,
        log_writer: LogWriter,
        randomness: Randomness,
    ) -> None:
        self.producer = producer
        self._desk = desk
        self._store = desk.store
        self._productions = desk.productions
        self._ledger = desk.ledger
        self._clock = desk.clock
        self._threads = threads
        self._windows = windows
        self._streams = streams
        self._logs = logs
        self._log_writer = log_writer
        self._randomness = randomness
        self._runs: dict[ResponseId, Run] = {}

    async def create(self, caller: Principal, ask: Ask, permit: Permit) -> LiveStream:
        """Open a response and start writing it; the permit is used up in any case.

        Raises NotFound (conversation), Conflict (the conversation is being answered) and
        InvalidRequest (it is full).
        """
        new = ResponseId(mint(IdPrefix.RESPONSE, self._randomness))
        opened = False
        try:
            run = await self._open(caller, ask, permit, new)
            self._start(run, permit)
            opened = True
            return run.pen.stream
        finally:
            if not opened:
                self._ledger.release(permit.reservation)
                permit.release()

    async def get(self, caller: Principal, id: ResponseId) -> ResponseBody:
        """The response as it stands; raises NotFound, also when it ended and was not stored."""
        response = await self._find(caller, id)
        if not response.stored and response.status is not ResponseStatus.IN_PROGRESS:
            raise _no_response(id)
        return render_response(response, self._ledger.currency)

    async def result(self, caller: Principal, id: ResponseId) -> ResponseBody:
        """The response for the caller who waited for it, stored or not; raises NotFound."""
        return render_response(await self._find(caller, id), self._ledger.currency)

    async def cancel(self, caller: Principal, id: ResponseId) -> ResponseBody:
        """Stop it and keep what there is; does nothing to one that has ended. Raises NotFound.

        Whoever writes it: another process is asked to, and the next one if that is dead.
        """
        await self._find(caller, id)
        run = self._runs.get(id)
        if run is not None:
            self._stop(run, ResponseStatus.CANCELLED)
            await run.done.wait()
        elif await self._productions.cancel(id):
            await self._wait_for_end(caller, id)
        return await self.result(caller, id)

    async def input_items(self, caller: Principal, id: ResponseId) -> list[Item]:
        """What was asked; raises NotFound."""
        response = await self._find(caller, id)
        answered = {item.id for item in response.output}
        found = await self._store.list_response_items(id)
        return [item for item in found if item.id not in answered]

    async def delete(self, caller: Principal, id: ResponseId) -> None:
        """Stop it if it runs, and remove it; raises NotFound."""
        await self.cancel(caller, id)
        await self._store.delete_response(id, caller.project)
        await self._streams.forget(id)

    async def active(
        self, conversations: Sequence[ConversationId]
    ) -> Mapping[ConversationId, ResponseId]:
        """The responses that are being written in these conversations, wherever that is done."""
        return await self._store.list_active(conversations)

    async def stop_in(self, caller: Principal, conversation: ConversationId) -> None:
        """Cancel what is being written in the conversation and wait for its end."""
        for writing in (await self.active([conversation])).values():
            await self.cancel(caller, writing)

    def stop(self, id: ResponseId) -> None:
        """Somebody elsewhere wants this one cancelled."""
        run = self._runs.get(id)
        if run is not None:
            self._stop(run, ResponseStatus.CANCELLED)

    async def adopt(self, orphan: Orphan) -> bool:
        """Go on with a response that nobody writes any more; False when another was faster."""
        mine, epoch = orphan.response.id, orphan.production.epoch + 1
        if mine in self._runs:
            return False
        reservation = await self._reserve_again(orphan.response)
        if not await self._productions.take(mine, orphan.production.epoch, self.producer):
            self._ledger.release(reservation)
            return False
        await self._logs.fence(mine, epoch)
        progress = Progress()
        followed = self._streams.find(mine)
        while chunks := await self._logs.read(mine, progress.following, _READ_CHUNKS):
            progress = read_progress(chunks, progress)
            if followed is not None:
                for chunk in chunks:
                    followed.publish(chunk)
        stream = self._streams.open(mine, epoch=epoch, following=progress.following)
        run = Run(
            response=orphan.response,
            request=orphan.production.request,
            reservation=reservation,
            pen=self._log_writer.pen(stream, epoch=epoch),
            transcript=Transcript(
                begin_answer(orphan.response, orphan.production.item, orphan.production.parent),
                self._name,
                progress.entries,
            ),
            generated=Generated(pieces=progress.pieces, tokens=progress.tokens),
            stopped=ResponseStatus.CANCELLED if orphan.production.cancelled else None,
        )
        self._desk.metrics.takeovers.labels("gateway").inc()
        self._desk.log.info(
            Event.RESPONSE_TAKEN, response=mine, epoch=epoch, events=progress.following
        )
        self._start(run, Permit(run.reservation, _nothing))
        return True

    async def drain(self, seconds: float) -> None:
        """Let running responses end; after that many seconds leave them to another process."""
        await self._wait_for_runs(seconds)
        for run in self._runs.values():
            run.leaving = True
            run.stop.set()
        await self._wait_for_runs(_LEAVE_SECONDS)

    async def _wait_for_runs(self, seconds: float) -> None:
        waits = {
            self._desk.tasks.spawn(f"end of {run.response.id}", run.done.wait())
            for run in self._runs.values()
        }
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    async def _wait_for_end(self, caller: Principal, id: ResponseId) -> None:
        """Until another process has ended it, or it seems that none will."""
        deadline = self._clock.monotonic() + _ELSEWHERE_SECONDS
        while self._clock.monotonic() < deadline:
            response = await self._store.find_response(id, caller.project)
            if response is None or response.status is not ResponseStatus.IN_PROGRESS:
                return
            await self._clock.sleep(_ELSEWHERE_POLL_SECONDS)

    async def _reserve_again(self, response: Response) -> Reservation:
        """Its money was admitted when it began; what is needed again is the rates of its bill."""
        owner = Principal(response.user, response.project, response.key)
        return await self._ledger.reserve(
            owner,
            response.model,
            prompt_tokens=0,
            completion_tokens_max=0,
            tier=response.options.tier,
        )

    def _name(self, prefix: IdPrefix) -> str:
        return mint(prefix, self._randomness)

    def _start(self, run: Run, permit: Permit) -> None:
        self._runs[run.response.id] = run
        self._desk.tasks.spawn(f"response {run.response.id}", self._write(run, permit))

    async def _open(self, caller: Principal, ask: Ask, permit: Permit, id: ResponseId) -> Run:
        question = await self._windows.prepare(caller, ask)
        now = self._clock.now()
        response = Response(
            id=id,
            project=caller.project,
            user=caller.user,
            key=caller.key,
            model=ask.model,
            status=ResponseStatus.IN_PROGRESS,
            created_at=now,
            sampling=ask.sampling,
            conversation=ask.conversation,
            instructions=ask.instructions,
            metadata=dict(ask.metadata),
            stored=ask.stored,
            options=replace(ask.options, dropped=question.dropped),
        )
        asked = [replace(item, response=id) for item in question.asked]
        tip = asked[-1].id if asked else question.tip
        item = ItemId(self._name(IdPrefix.MESSAGE))
        sampling = ask.sampling
        if sampling.seed is None:
            # So that a successor draws the same tokens.
            sampling = replace(sampling, seed=int.from_bytes(self._randomness.bytes(4), "big") >> 1)
        request = spell_request(
            ask.model,
            question.turns,
            sampling,
            Manner(
                text_format=ask.options.text_format,
                goes_on=question.goes_on,
                offer=ask.offer,
                parallel_calls=ask.options.parallel_calls,
                effort=ask.options.effort,
                queue_place=ask.queue_place,
            ),
        )
        production = Production(id, self.producer, 1, item, tip, request)
        tip_then = None if ask.branches or ask.conversation is None else Tip(question.tip)
        await self._store.open_response(response, asked, now, production, tip=tip_then)
        if ask.conversation is not None and not asked and tip is not None:
            # The new answer is a sibling of the old one, whose branch is left with this.
            await self._threads.set_leaf(ask.conversation, caller.project, tip)
        stream = self._streams.open(id, epoch=1)
        return Run(
            response=response,
            request=request,
            reservation=permit.reservation,
            pen=self._log_writer.pen(stream, epoch=1),
            transcript=Transcript(begin_answer(response, item, tip), self._name),
        )

    async def _find(self, caller: Principal, id: ResponseId) -> Response:
        response = await self._store.find_response(id, caller.project)
        if response is None:
            raise _no_response(id)
        return response

    def _stop(self, run: Run, status: ResponseStatus) -> None:
        run.stopped = run.stopped or status
        run.stop.set()

    async def _write(self, run: Run, permit: Permit) -> None:
        """Write the response to its end, whatever that is; nothing that was set aside stays so."""
        try:
            await write_response(run, self._desk)
        finally:
            self._ledger.release(permit.reservation)
            permit.release()
            self._runs.pop(run.response.id, None)
            if run.leaving and not run.pen.fenced.is_set():
                self._streams.hand_over(run.pen.stream)
            else:
                await self._streams.ended(run.response.id)


def _nothing() -> None:
    """The place of a response that was admitted elsewhere is not ours to give back."""


def _no_response(id: ResponseId) -> NotFound:
    return NotFound(f"There is no response '{id}'.", param="response_id")
