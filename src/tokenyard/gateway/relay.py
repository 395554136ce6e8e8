"""One pass-through call: a model server's answer goes to the client as it is, and is billed once.

Events are forwarded byte for byte; only the one that carries the usage is read and, if the client
asked for it, sent on with what it cost. Does not know connections, limits or how a bill is kept.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from tokenyard.gateway.admission import Lease
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import Reservation, UsageRow
from tokenyard.protocol.chat_completions import UsageBody
from tokenyard.protocol.errors import error_response
from tokenyard.protocol.sse import DONE, data_of, frame
from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.ports import GenerationCall
from tokenyard.upstreams.router import RoutedUpstream
from tokenyard.vocabulary.errors import TokenyardError, UpstreamFailed
from tokenyard.vocabulary.generation import FinishReason, Usage

# Inside a text these quotes would be escaped, so they are the wire's own.
_USAGE = b'"usage":'
_LENGTH = b'"finish_reason":"length"'
_NO_USAGE = (b'"usage":null', b'"usage": null')


class _Told(UsageBody, kw_only=True):
    """Embeddings have no answer tokens, and servers leave the field out."""

    completion_tokens: int = 0


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class _Head(msgspec.Struct):
    """The part of an answer or event that the bill needs."""

    usage: _Told | None = None
    choices: list[_Choice] = []


class Relay:
    """Owns the reservation and the lease of one call, and gives both back at its end."""

    def __init__(
        self,
        call: GenerationCall,
        upstream: RoutedUpstream,
        *,
        reservation: Reservation,
        lease: Lease,
        ledger: Ledger,
        clock: Clock,
        metrics: GatewayMetrics,
        include_usage: bool,
        tier: str | None = None,
    ) -> None:
        self._call = call
        self._upstream = upstream
        self._reservation = reservation
        self._lease = lease
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._include_usage = include_usage
        # Told with the answer when the request named one.
        self._tier = tier
        self._began = clock.monotonic()
        self._between = metrics.between_tokens.labels(reservation.model)
        self._events = 0
        self._finish = FinishReason.STOP
        self._settled = False

    @property
    def headers(self) -> dict[str, str]:
        """What the answer tells of the caller's limits."""
        return self._lease.headers

    async def abandon(self) -> None:
        """The client left or wants no more: the model server stops and tells what it counted."""
        self._finish = FinishReason.ABORT
        await self._upstream.abort(self._call.request_id)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer's frames, `[DONE]` included; what the server refuses at first is raised."""
        try:
            frames = self._upstream.frames(self._call)
            async for block in frames if self._tier is None else _mark(frames, self._tier):
                self._note_events()
                if _USAGE in block and block.count(_USAGE) > sum(map(block.count, _NO_USAGE)):
                    for data in data_of(block):
                        told = await self._pass_on(data)
                        if told is not None:
                            yield told
                else:
                    self._see(block)
                    yield block
            yield DONE
        except TokenyardError as error:
            self._metrics.upstream_errors.labels(error.reason).inc()
            if not self._events:
                raise
            _, body, _ = error_response(error)
            yield frame(msgspec.json.encode(body))
            yield DONE
        finally:
            await self.close()

    async def answer(self) -> bytes:
        """The whole answer's body with what it cost."""
        try:
            body = await self._upstream.complete(self._call)
            self._note_events()
            head = msgspec.json.decode(body, type=_Head)
            if head.usage is None:
                raise UpstreamFailed("The model server did not tell what it counted.")
            row = await self._settle(head.usage.usage(), _finish_of(head.choices))
            tier = {} if self._tier is None else {"service_tier": self._tier}
            return _add(body, {**tier, **_cost(row)})
        except msgspec.MsgspecError as error:
            raise UpstreamFailed("The model server answered something unreadable.") from error
        except TokenyardError as error:
            self._metrics.upstream_errors.labels(error.reason).inc()
            raise
        finally:
            await self.close()

    async def close(self) -> None:
        """Give back what was set aside; bill what was seen when the server never told its count."""
        try:
            if not self._settled and self._events:
                # One event was the role; each later one carries a token or more.
                seen = Usage(prompt_tokens=0, completion_tokens=max(0, self._events - 1))
                await self._settle(seen, FinishReason.ERROR)
        finally:
            self._ledger.release(self._reservation)
            self._lease.release()

    async def _pass_on(self, data: bytes) -> bytes | None:
        """Settle by the event that carries the usage; what the client gets of it."""
        if _USAGE not in data or any(empty in data for empty in _NO_USAGE):
            told = frame(data)
            self._see(told)
            return told
        try:
            head = msgspec.json.decode(data, type=_Head)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed("The model server sent something unreadable.") from error
        if head.usage is None:
            return frame(data)
        row = await self._settle(head.usage.usage(), self._finish)
        if not self._include_usage:
            return None
        return frame(_add(data, _cost(row)))

    async def _settle(self, usage: Usage, finish: FinishReason) -> UsageRow:
        self._settled = True
        # Our own id, as no server can be trusted never to give out the same one twice.
        return await self._ledger.settle(
            self._reservation,
            id=self._call.request_id,
            usage=usage,
            finish=finish,
            upstream=self._upstream.served_by,
        )

    def _see(self, block: bytes) -> None:
        """Note what events that are passed on say of the answer."""
        self._events += block.count(b"\n\n")
        if _LENGTH in block and self._finish is FinishReason.STOP:
            self._finish = FinishReason.LENGTH

    def _note_events(self) -> None:
        """Some have come at this moment."""
        now = self._clock.monotonic()
        waited, self._began = now - self._began, now
        if self._events:
            self._between.observe(waited)
        else:
            self._metrics.first_token.labels(self._reservation.model).observe(waited)


async def _mark(frames: AsyncGenerator[bytes, None], tier: str) -> AsyncGenerator[bytes, None]:
    """The events with the tier in each of them."""
    async with aclosing(frames) as blocks:
        async for block in blocks:
            for data in data_of(block):
                try:
                    told = _add(data, {"service_tier": tier})
                except msgspec.MsgspecError:
                    told = data
                yield frame(told)


def _cost(row: UsageRow) -> dict[str, Any]:
    return {"cost": {"nanos": row.cost.nanos, "currency": row.cost.currency}}


def _add(body: bytes, fields: dict[str, Any]) -> bytes:
    """An object with these fields, everything else as it came."""
    told = body.rstrip()
    if (
        told.endswith(b"}")
        and told != b"{}"
        and not any(f'"{name}"'.encode() in told for name in fields)
    ):
        return told[:-1] + b"," + msgspec.json.encode(fields)[1:]
    return msgspec.json.encode({**msgspec.json.decode(body, type=dict[str, Any]), **fields})


def _finish_of(choices: list[_Choice]) -> FinishReason:
    reasons = {str(choice.finish_reason) for choice in choices}
    if "abort" in reasons:
        return FinishReason.ABORT
    return FinishReason.LENGTH if "length" in reasons else FinishReason.STOP
