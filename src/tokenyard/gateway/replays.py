"""Idempotency-Key: a request that is repeated gets the answer of the first one, and costs nothing.

The work belongs to the server then: it goes on when its client leaves, and whoever comes with the
same key reads it from its beginning, while it runs and for a day after. A key holds for a project
and one request; with another request it is refused. Only answers that succeeded are kept, so that
what was refused or broke can be tried again. Does not know what the operations do.
"""

import asyncio
import hashlib
import re
from typing import Protocol

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenyard.gateway.doorway import Doorway, headers_of
from tokenyard.gateway.operation import Handler
from tokenyard.gateway.presence import while_connected
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, TokenyardError, Unavailable
from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.reasons import Reason
from tokenyard.vocabulary.replays import Claim, Kept

HEADER = "idempotency-key"
_REPLAYED = (b"idempotent-replayed", b"true")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# A claim whose process died holds others up for this long.
_RUNNING_SECONDS = 600.0
_RETRY_SECONDS = 1.0


class ReplayStore(Protocol):
    """Keys and their answers; expired ones are as if they were not there."""

    async def claim(
        self, project: ProjectId, key: str, fingerprint: str, *, now: float, until: float
    ) -> Claim | None:
        """Claim a key; None when it was free and now is ours, and otherwise what holds it."""
        ...

    async def keep(self, project: ProjectId, key: str, answer: Kept, *, until: float) -> None:
        """The answer of a key that we claimed."""
        ...

    async def free(self, project: ProjectId, key: str) -> None:
        """Give a claimed key up."""
        ...

    async def sweep(self, now: float) -> None:
        """Remove what has expired."""
        ...


class _Recording:
    """An answer in the making, for any number of readers."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._messages: list[Message] = []
        self._error: BaseException | None = None
        self._over = False
        self._more = asyncio.Event()

    async def take(self, message: Message) -> None:
        """What the operation sends."""
        self._messages.append(message)
        self._wake()

    def end(self, error: BaseException | None) -> None:
        """Nothing follows."""
        self._error, self._over = error, True
        self._wake()

    async def play(self, send: Send, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send all of it from its beginning, as it comes; raises what the operation raised."""
        place = 0
        while True:
            more = self._more
            for message in self._messages[place:]:
                told = message
                if message["type"] == "http.response.start":
                    told = {**message, "headers": [*message["headers"], *headers]}
                await send(told)
                place += 1
            if self._over and place == len(self._messages):
                break
            if place == len(self._messages):
                await more.wait()
        if self._error is not None:
            raise self._error

    def kept(self) -> Kept | None:
        """The answer, when it succeeded."""
        if self._error is not None or not self._messages:
            return None
        start = self._messages[0]
        if start["status"] >= 400:
            return None
        headers = tuple((name.decode(), value.decode()) for name, value in start["headers"])
        return Kept(
            start["status"],
            headers,
            b"".join(message.get("body", b"") for message in self._messages[1:]),
        )

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class Replays:
    """For the operations of one process."""

    def __init__(
        self,
        store: ReplayStore,
        doorway: Doorway,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        kept_seconds: float,
    ) -> None:
        self._store = store
        self._doorway = doorway
        self._tasks = tasks
        self._clock = clock
        self._kept_seconds = kept_seconds
        self._running: dict[tuple[ProjectId, str], _Recording] = {}
        self._swept_at = clock.now()

    async def answer(self, handler: Handler, request: Request) -> ASGIApp:
        """What the handler answers, or what it answered when it was asked the first time.

        Raises InvalidRequest for a key that stands for another request, and Conflict while another
        process works on it.
        """
        key = headers_of(request).get(HEADER)
        if key is None:
            return await handler(request)
        if not _KEY.fullmatch(key):
            raise InvalidRequest("Idempotency-Key must have 1 to 255 visible characters.")
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        place = (caller.project, key)
        fingerprint = _fingerprint(request, body)
        running = self._running.get(place)
        if running is None:
            now = self._clock.now()
            # Entered before the store is asked, so that two at the same time are one here.
            running = self._running[place] = _Recording(fingerprint)
            try:
                held = await self._store.claim(
                    *place, fingerprint, now=now, until=now + _RUNNING_SECONDS
                )
            except BaseException as error:
                self._forget(place, running, Unavailable("The key could not be looked up."))
                raise error from None
            if held is not None:
                self._forget(place, running, _in_progress())
                return _stored(held, fingerprint)
            self._tasks.spawn(
                f"keyed {request.scope['state']['request_id']}",
                self._record(place, running, handler, request.scope, body),
            )
            return self._player(running, request, ())
        if running.fingerprint != fingerprint:
            raise _other_request()
        return self._player(running, request, (_REPLAYED,))

    def _player(
        self, recording: _Recording, request: Request, headers: tuple[tuple[bytes, bytes], ...]
    ) -> ASGIApp:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            await while_connected(
                recording.play(send, headers),
                scope,
                receive,
                tasks=self._tasks,
                name=f"reader of {scope['state']['request_id']}",
                abandon=None,
            )

        return respond

    async def _record(
        self,
        place: tuple[ProjectId, str],
        recording: _Recording,
        handler: Handler,
        scope: Scope,
        body: bytes,
    ) -> None:
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                # Nobody leaves: the work is the server's.
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        error: BaseException | None = None
        try:
            # Each reader has a connection of its own; the recording has none.
            scope = {
                name: value for name, value in scope.items() if not name.startswith("tokenyard")
            }
            respond = await handler(Request(scope, receive, recording.take))
            await respond(scope, receive, recording.take)
        except Exception as failed:  # told to everybody who waits for the answer
            error = failed
        finally:
            try:
                await self._settle(place, None if error else recording.kept())
            finally:
                recording.end(error)
                self._running.pop(place, None)

    async def _settle(self, place: tuple[ProjectId, str], answer: Kept | None) -> None:
        now = self._clock.now()
        if answer is None:
            await self._store.free(*place)
        else:
            await self._store.keep(*place, answer, until=now + self._kept_seconds)
        if now - self._swept_at > _RUNNING_SECONDS:
            self._swept_at = now
            await self._store.sweep(now)

    def _forget(
        self, place: tuple[ProjectId, str], recording: _Recording, error: TokenyardError
    ) -> None:
        self._running.pop(place, None)
        recording.end(error)


def _fingerprint(request: Request, body: bytes) -> str:
    told = f"{request.method} {request.url.path}\n".encode()
    return hashlib.sha256(told + body).hexdigest()


def _stored(held: Claim, fingerprint: str) -> ASGIApp:
    if held.fingerprint != fingerprint:
        raise _other_request()
    answer = held.answer
    if answer is None:
        raise _in_progress()

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": [*headers, _REPLAYED]})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    return respond


def _other_request() -> InvalidRequest:
    return InvalidRequest(
        "This Idempotency-Key was used with another request; take a new one.",
        reason=Reason.IDEMPOTENCY_KEY_REUSED,
    )


def _in_progress() -> Conflict:
    return Conflict(
        "The first request with this Idempotency-Key is still being worked on.",
        reason=Reason.IDEMPOTENCY_KEY_IN_USE,
        retry_after_seconds=_RETRY_SECONDS,
    )
