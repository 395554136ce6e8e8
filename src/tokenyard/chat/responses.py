"""Responses: a task owned by the server writes each one; connections only read its stream.

Decides which responses run, and who may find, cancel and read them. Does not know limits (the
gateway does), nor how one response is written (`writer` does).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from tokenyard.chat.ports import ChatStore, ThreadStore
from tokenyard.chat.records import Ask, Item, Response, ResponseStatus
from tokenyard.chat.rendering import render_response
from tokenyard.chat.streams import LiveStream, StreamRegistry
from tokenyard.chat.windows import Windows
from tokenyard.chat.writer import Run, write_response
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import Reservation
from tokenyard.protocol.responses import ResponseBody
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import Conflict, NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, IdPrefix, ItemId, ResponseId
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to one generation: money set aside, and a place that is given back at its end."""

    reservation: Reservation
    release: Callable[[], None]


class Responses:
    """All responses of this process."""

    def __init__(
        self,
        *,
        store: ChatStore,
        threads: ThreadStore,
        windows: Windows,
        streams: StreamRegistry,
        pool: UpstreamPool,
        ledger: Ledger,
        tasks: TaskSupervisor,
        clock: Clock,
        randomness: Randomness,
        log: Log,
    ) -> None:
        self._store = store
        self._threads = threads
        self._windows = windows
        self._streams = streams
        self._pool = pool
        self._ledger = ledger
        self._tasks = tasks
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._runs: dict[ResponseId, Run] = {}
        self._busy: dict[ConversationId, ResponseId] = {}

    async def create(self, caller: Principal, ask: Ask, permit: Permit) -> LiveStream:
        """Open a response and start writing it; the permit is used up in any case.

        Raises NotFound (conversation), Conflict (the conversation is being answered) and
        InvalidRequest (it is full).
        """
        new = ResponseId(mint(IdPrefix.RESPONSE, self._randomness))
        opened = False
        try:
            if ask.conversation is not None:
                self._claim(ask.conversation, new)
            run = await self._open(caller, ask, permit, new)
            self._runs[new] = run
            self._tasks.spawn(f"response {new}", self._write(run, permit))
            opened = True
            return run.stream
        finally:
            if not opened:
                self._unclaim(ask.conversation, new)
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

    async def stream(self, caller: Principal, id: ResponseId) -> LiveStream | None:
        """Its stream, or None when that has been forgotten; raises NotFound."""
        await self._find(caller, id)
        return self._streams.find(id)

    async def cancel(self, caller: Principal, id: ResponseId) -> ResponseBody:
        """Stop it and keep what there is; does nothing to one that has ended. Raises NotFound."""
        await self._find(caller, id)
        run = self._runs.get(id)
        if run is not None:
            self._stop(run, ResponseStatus.CANCELLED)
            await run.stream.closed()
        return await self.result(caller, id)

    async def input_items(self, caller: Principal, id: ResponseId) -> list[Item]:
        """What was asked; raises NotFound."""
        response = await self._find(caller, id)
        answer = None if response.output is None else response.output.id
        return [item for item in await self._store.list_response_items(id) if item.id != answer]

    async def delete(self, caller: Principal, id: ResponseId) -> None:
        """Stop it if it runs, and remove it; raises NotFound."""
        await self.cancel(caller, id)
        await self._store.delete_response(id, caller.project)
        self._streams.forget(id)

    def active(self, conversation: ConversationId) -> ResponseId | None:
        """The response that is being written in the conversation."""
        return self._busy.get(conversation)

    async def stop_in(self, conversation: ConversationId) -> None:
        """Cancel what is being written in the conversation and wait for its end."""
        writing = self._busy.get(conversation)
        run = None if writing is None else self._runs.get(writing)
        if run is not None:
            self._stop(run, ResponseStatus.CANCELLED)
            await run.stream.closed()

    async def drain(self, seconds: float) -> None:
        """Let running responses end; after that many seconds stop them and keep what there is."""
        waits = [
            self._tasks.spawn(f"end of {run.response.id}", run.stream.closed())
            for run in self._runs.values()
        ]
        if not waits:
            return
        await asyncio.wait(waits, timeout=seconds)
        for run in list(self._runs.values()):
            self._stop(run, ResponseStatus.FAILED)
        await asyncio.gather(*waits)

    def _claim(self, conversation: ConversationId, id: ResponseId) -> None:
        if self._busy.setdefault(conversation, id) != id:
            raise Conflict(
                "This conversation is being answered. Wait for the end, or cancel that response.",
                reason=Reason.CONVERSATION_BUSY,
                param="conversation",
            )

    def _unclaim(self, conversation: ConversationId | None, id: ResponseId) -> None:
        if conversation is not None and self._busy.get(conversation) == id:
            del self._busy[conversation]

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
        await self._store.open_response(response, asked, now)
        tip = asked[-1].id if asked else question.tip
        if ask.conversation is not None and not asked and tip is not None:
            # The new answer is a sibling of the old one, whose branch is left with this.
            await self._threads.set_leaf(ask.conversation, caller.project, tip)
        item = Item(
            id=ItemId(mint(IdPrefix.MESSAGE, self._randomness)),
            role=Role.ASSISTANT,
            text="",
            created_at=now,
            response=id,
            complete=False,
            parent=tip,
        )
        return Run(
            response=response,
            turns=question.turns,
            reservation=permit.reservation,
            stream=self._streams.open(id),
            item=item,
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
            await write_response(
                run,
                store=self._store,
                pool=self._pool,
                ledger=self._ledger,
                tasks=self._tasks,
                clock=self._clock,
                log=self._log,
            )
        finally:
            self._ledger.release(permit.reservation)
            permit.release()
            self._runs.pop(run.response.id, None)
            self._unclaim(run.response.conversation, run.response.id)
            self._streams.ended(run.response.id)


def _no_response(id: ResponseId) -> NotFound:
    return NotFound(f"There is no response '{id}'.", param="response_id")
