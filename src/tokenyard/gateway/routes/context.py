"""How a question would fill a model's window and what it may cost, before it is asked."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.chat.windows import Gauge, Windows
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.routes.asking import AskReader
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.rules.pricing import price
from tokenyard.protocol.conversations import ContextBody, ContextPart, TurnCost
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.responses import CreateResponseRequest
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.identity import Permission

_TAG = "Conversations"


class ContextRoutes:
    """The handler of the context gauge."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        windows: Windows,
        reader: AskReader,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._doorway = doorway
        self._windows = windows
        self._reader = reader
        self._ledger = ledger
        self._clock = clock

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/api/context", "measureContext",
                "How this request would fill the model's window, and what it may cost.",
                self._measure, _TAG, CreateResponseRequest, ContextBody,
                errors=(404, 413, 503), permission=Permission.CHAT_READ,
            ),
        ]  # fmt: skip

    async def _measure(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CreateResponseRequest, await self._doorway.body(request))
        ask, model = await self._reader.read(caller, asked)
        gauge = await self._windows.measure(caller, ask)
        free = max(0, gauge.window - gauge.used)
        longest = min(ask.sampling.max_tokens or free, free)
        return json_answer(
            ContextBody(
                model=model.id,
                context_window=gauge.window,
                used_tokens=gauge.used,
                answer_room=gauge.answer_room,
                free_tokens=free,
                exact=gauge.exact,
                fullness=gauge.fullness.value,
                parts=[ContextPart(name=name, tokens=tokens) for name, tokens in gauge.parts],
                truncated_items=gauge.dropped,
                cost=self._price(model.id, gauge, longest),
            )
        )

    def _price(self, model: str, gauge: Gauge, longest: int) -> TurnCost | None:
        """None for a model without a price; where servers differ in price, all are counted."""
        rates = self._ledger.prices.find_all(model, self._clock.now())
        if not rates:
            return None
        used = gauge.used
        return TurnCost(
            lowest_nanos=min(price(Usage(used, 1, used), one).nanos for one in rates),
            highest_nanos=max(price(Usage(used, longest), one).nanos for one in rates),
            currency=self._ledger.currency,
        )
