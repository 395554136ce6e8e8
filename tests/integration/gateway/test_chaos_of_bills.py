"""A model server that breaks in every way: books, server and clients agree to the token."""

import asyncio
import json
import random
from typing import Any

from support.faulty_server import MODEL, FaultyServer
from support.yards import open_fake_yard
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.routing_settings import RoutingSettings
from tokenyard.runtime.settings import Settings, UpstreamSettings
from tokenyard.upstreams.dialects import Dialect
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

PRICES = (PriceSettings(model="*", input="0.001", cached_input="0.001", output="0.001"),)
SETTINGS = Settings(
    ledger=LedgerSettings(prices=PRICES),
    limits=LimitSettings(requests_per_minute=10**6, requests_burst=10**6),
    upstreams=UpstreamSettings(
        first_token_seconds=0.5,
        between_tokens_seconds=0.5,
        routing=RoutingSettings(breaker_failures=10**6),
    ),
)
CALLS = 150


async def test_books_server_and_clients_agree() -> None:
    draw = random.Random(11)
    seen: dict[str, int] = {}
    async with FaultyServer(seed=5) as server, open_fake_yard(SETTINGS) as yard:
        url = f"http://127.0.0.1:{server.port}"
        upstream = ForeignUpstream(
            url, SETTINGS.upstreams, dialect=Dialect.VLLM, clock=RealClock(), models=(MODEL,)
        )
        yard.pool.expect("faulty", frozenset({MODEL}))
        await yard.pool.attach("faulty", upstream)
        while not any(model.id == MODEL for model in yard.pool.models()):
            await asyncio.sleep(0.02)
            await yard.clock.advance(0.2)

        async def call(streams: bool) -> None:
            body: dict[str, Any] = {
                "model": MODEL,
                "messages": [{"role": "user", "content": "Hi"}],
                "max_tokens": 16,
                "stream": streams,
            }
            answer = await yard.client.call("POST", "/v1/chat/completions", json_body=body)
            if streams:
                pieces = [
                    choice["delta"].get("content")
                    for event in answer.events()
                    if event.data.startswith(b'{"id"')
                    for choice in json.loads(event.data)["choices"]
                ]
                seen[answer.headers["x-request-id"]] = sum(1 for piece in pieces if piece)

        for _ in range(CALLS // 25):
            await asyncio.gather(*(call(draw.random() < 0.7) for _ in range(25)))
        books = yard.store.state.books
        assert await yard.ledger.statements.check() == []
        assert books.open == {}
        assert len(books.usage) > CALLS // 3
        for row in books.usage.values():
            assert row.usage.completion_tokens == server.counted.get(row.id, 0)
            assert row.usage.completion_tokens == seen.get(row.id, row.usage.completion_tokens)
        # Whatever reached a client was billed.
        assert {name for name, count in seen.items() if count} <= set(books.usage)
        total = sum(row.cost.nanos for row in books.usage.values())
        spent = await yard.ledger.statements.month_to_date(DEFAULT_PROJECT)
        assert spent.nanos == total
