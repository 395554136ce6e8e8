"""One WebSocket: reads frames, puts them into lanes, and ends when its time or patience is over.

A frame that is wrong is answered with an error and changes nothing else; the connection goes on.
Does not know how an answer is made or read (the lanes do), nor who may connect (`office` does).
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive

from tokenyard.gateway.sockets.lane import PATH, Job, Lane, LaneParts
from tokenyard.gateway.sockets.wire import spell
from tokenyard.protocol.socket_frames import (
    AckFrame,
    CreateOrder,
    ResponseCancelFrame,
    ResponseResumeFrame,
    SocketError,
    lane_of,
    read_frame,
)
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import InvalidRequest, LimitReached, TokenyardError
from tokenyard.vocabulary.reasons import Reason

# Close codes: RFC 6455, section 7.4.1; 4000 and above are an application's own.
LIFETIME, DRAINING, UNACKED = 1001, 1012, 4408
_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Temper:
    """How long this connection may last and be stuck, and when its client should come back."""

    life_seconds: float
    stall_seconds: float
    retry_ms: int


class Socket:
    """One connection, from its acceptance to its end."""

    def __init__(
        self, parts: LaneParts, receive: Receive, *, tasks: TaskSupervisor, temper: Temper
    ) -> None:
        self._parts = parts
        self._receive = receive
        self._tasks = tasks
        self._temper = temper
        self._lanes: dict[str | None, Lane] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._leaving = False

    async def run(self) -> None:
        """Until either side closes it; what was asked for goes on like behind any reader."""
        watching = self._tasks.spawn("watch of a socket", self._watch())
        try:
            while (message := await self._receive())["type"] != "websocket.disconnect":
                await self._take(message)
        except OSError:
            # The other side went away while it was told something.
            return
        finally:
            watching.cancel()
            for task in self._working:
                task.cancel()
            await asyncio.wait({watching, *self._working})

    async def drain(self) -> None:
        """Close it when the answers on it have ended, or now if there are none."""
        self._leaving = True
        await self._leave_if_idle()

    async def close(self, code: int, word: str) -> None:
        """Close it; the reason has a name, and says after how long to come back."""
        if not self._parts.wire.closed:
            self._parts.metrics.readers_closed.labels(word).inc()
        await self._parts.wire.close(code, f"{word}; retry_ms={self._temper.retry_ms}")

    async def _take(self, message: Message) -> None:
        text = message.get("text")
        data = b"" if text is None else text.encode()
        try:
            if text is None:
                raise InvalidRequest("Frames are text, not bytes.", param="type")
            frame = read_frame(data)
            if isinstance(frame, AckFrame):
                self._note(frame)
                return
            self._check_room()
        except TokenyardError as error:
            await self._parts.wire.refuse(error, lane_of(data))
            return
        match frame:
            case CreateOrder() | ResponseResumeFrame():
                self._line_up(frame)
            case ResponseCancelFrame():
                self._spawn(self._cancel(frame))

    def _note(self, ack: AckFrame) -> None:
        told = [lane.take(ack) for lane in self._lanes.values()]
        if False in told and True not in told:
            raise InvalidRequest(
                f"Event {ack.sequence_number} of '{ack.response_id}' was not sent yet.",
                reason=Reason.INVALID_CURSOR,
                param="sequence_number",
            )

    def _check_room(self) -> None:
        busy = sum(len(lane.jobs) for lane in self._lanes.values())
        most = self._parts.settings.streams_max
        if busy + len(self._working) - len(self._lanes) >= most:
            raise LimitReached(
                f"This connection has {most} answers and waiting frames, which is its limit.",
                reason=Reason.SOCKET_STREAMS_LIMIT,
            )

    def _line_up(self, job: Job) -> None:
        lane = self._lanes.get(job.stream_id)
        if lane is not None:
            lane.jobs.append(job)
            return
        lane = self._lanes[job.stream_id] = Lane(self._parts, job.stream_id)
        lane.jobs.append(job)
        self._spawn(self._run(lane, job.stream_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.spawn("answer of a socket", work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _run(self, lane: Lane, stream_id: str | None) -> None:
        try:
            await lane.run()
        except OSError:
            # The other side is gone; the end of the connection follows.
            return
        finally:
            del self._lanes[stream_id]
        await self._leave_if_idle()

    async def _cancel(self, frame: ResponseCancelFrame) -> None:
        path = f"{PATH}/{frame.response_id.replace('/', '_')}/cancel"
        told = await self._parts.inner.ask("POST", path)
        if told.status >= 400:
            error = SocketError(status=told.status, error=told.error(), stream_id=frame.stream_id)
            try:
                await self._parts.wire.tell(spell(error))
            except OSError:
                return

    async def _leave_if_idle(self) -> None:
        if self._leaving and not self._lanes:
            await self.close(DRAINING, "draining")

    async def _watch(self) -> None:
        clock, settings = self._parts.clock, self._parts.settings
        temper, began = self._temper, clock.monotonic()
        step = min(temper.stall_seconds, settings.ack_seconds, temper.life_seconds) / _LOOKS
        while not self._parts.wire.closed:
            await clock.sleep(step)
            now = clock.monotonic()
            sent = [one.unacked_since for one in self._lanes.values()]
            if self._parts.wire.stuck_seconds() >= temper.stall_seconds:
                await self.close(UNACKED, "stalled")
            elif any(since is not None and now - since >= settings.ack_seconds for since in sent):
                await self.close(UNACKED, "unacked")
            elif now - began >= temper.life_seconds:
                await self.close(LIFETIME, "lifetime")
