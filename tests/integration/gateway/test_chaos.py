"""Everything breaks at once: model server, Valkey and Postgres, under load on two gateways.

Afterwards books, model server and clients agree to the token, no limit was exceeded, and the
checker proves every balance.
"""

import asyncio
import io
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from support.faulty_server import MODEL, PROMPT_TOKENS, FaultyServer
from support.postgres_server import PostgresServer, run_postgres
from support.valkey_server import ValkeyServer, run_valkey
from tokenyard.assembly.yard import open_books, open_gateway, open_people
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.routing_settings import RoutingSettings
from tokenyard.runtime.settings import (
    FleetSettings,
    GatewaySettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

CLIENTS = 12
BURST, PER_SECOND = 30, 8
# One nano-unit for each token.
PRICES = (PriceSettings(model="*", input="0.001", cached_input="0.001", output="0.001"),)
CAP_NANOS = 400
# How long each stays away, and how long all is well before and after.
AWAY_SECONDS, WELL_SECONDS = 0.6, 1.0


def settings_for(server: FaultyServer, database: str, valkey: str) -> Settings:
    faulty = ServerSettings(
        name="faulty", url=f"http://127.0.0.1:{server.port}", models=(MODEL,), kind="vllm"
    )
    return Settings(
        fleet=FleetSettings(engines=0),
        ledger=LedgerSettings(prices=PRICES, holder_seconds=6.0),
        limits=LimitSettings(
            requests_per_minute=PER_SECOND * 60,
            requests_burst=BURST,
            # Counting alone would let through what the other gateway has let through already.
            store_away="closed",
            store_retry_seconds=0.1,
            stream_seconds_max=4.0,
        ),
        upstreams=UpstreamSettings(
            servers=(faulty,),
            first_token_seconds=0.4,
            between_tokens_seconds=0.4,
            routing=RoutingSettings(breaker_failures=10**6),
        ),
        storage=StorageSettings(database_url=database, redis_url=valkey),
    )


@dataclass(slots=True)
class Seen:
    """What the clients saw: statuses, whose each request was, and pieces of each stream."""

    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    keys: dict[str, str] = field(default_factory=dict)
    pieces: dict[str, int] = field(default_factory=dict)


async def ask(session: aiohttp.ClientSession, url: str, key: str, streams: bool, into: Seen) -> int:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 16,
        "stream": streams,
    }
    headers = {"authorization": f"Bearer {key}"}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        data = await answer.read()
        name = answer.headers["x-request-id"]
        into.statuses[answer.status] += 1
        into.keys[name] = key
        if answer.status != 200:
            into.reasons[json.loads(data)["error"]["code"]] += 1
        elif streams:
            into.pieces[name] = _pieces(data)
        return answer.status


def _pieces(data: bytes) -> int:
    events = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line[:6] == b"data: "]
    trees = [json.loads(event) for event in events if event.startswith(b'{"id"')]
    choices = [choice for tree in trees for choice in tree["choices"]]
    return sum(1 for choice in choices if choice["delta"].get("content"))


async def load(urls: list[str], keys: list[str], seen: Seen, over: asyncio.Event) -> None:
    """Clients that never stop asking until it is over."""

    async def client(number: int) -> None:
        draw = random.Random(number)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not over.is_set():
                key = keys[0] if draw.random() < 0.8 else keys[1]
                if await ask(session, draw.choice(urls), key, draw.random() < 0.7, seen) != 200:
                    await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(number))


async def break_things(postgres: PostgresServer, valkey: ValkeyServer, over: asyncio.Event) -> None:
    """Each alone, then both together; in between all is well."""
    turns: tuple[tuple[PostgresServer | ValkeyServer, ...], ...]
    turns = (valkey,), (postgres,), (valkey, postgres)
    for broken in turns:
        await asyncio.sleep(WELL_SECONDS)
        for one in broken:
            await asyncio.to_thread(one.kill)
        await asyncio.sleep(AWAY_SECONDS)
        for one in broken:
            await asyncio.to_thread(one.start)
    await asyncio.sleep(WELL_SECONDS)
    over.set()


@asynccontextmanager
async def two_gateways(settings: Settings, home: Path, log: Log) -> AsyncIterator[list[str]]:
    bound = GatewaySettings(port=0)
    async with (
        open_gateway(settings, home, log, {}, bound) as one,
        open_gateway(settings, home, log, {}, bound) as other,
    ):
        async with aiohttp.ClientSession() as session:
            for url in (one, other):
                while True:
                    async with session.get(f"{url}/health/ready") as answer:
                        if answer.status == 200:
                            break
                    await asyncio.sleep(0.05)
        yield [one, other]


async def test_books_server_and_clients_agree_when_everything_breaks(tmp_path: Path) -> None:
    log, seen, over = Log(io.StringIO(), RealClock()), Seen(), asyncio.Event()
    with run_postgres() as postgres, run_valkey(durable=True) as valkey:
        database = postgres.make_database()
        async with FaultyServer(seed=5) as server:
            settings = settings_for(server, database, valkey.url)
            async with open_people(settings, tmp_path, log) as people:
                owner = command_line(DEFAULT_PROJECT)
                make = people.identity.keys.create
                free, _ = await make(owner, KeyTerms("free"))
                capped, _ = await make(owner, KeyTerms("capped", monthly_cap_nanos=CAP_NANOS))
            async with two_gateways(settings, tmp_path, log) as urls:
                began = time.monotonic()
                await asyncio.gather(
                    load(urls, [free, capped], seen, over), break_things(postgres, valkey, over)
                )
                ended = time.monotonic()
        async with open_books(settings, tmp_path, log) as ledger:
            assert await ledger.statements.check() == []
        rows = read_rows(postgres, database)
        assert postgres.execute("SELECT id FROM ledger_open", database.rpartition("/")[2]) == []
    check_tokens(rows, server, seen)
    check_limits(rows, server, seen, free, capped, ended - began)
    # What was broken was felt, and what was well went on.
    assert seen.reasons["limits_unavailable"] > 0
    assert seen.reasons["insufficient_quota"] > 0
    assert seen.reasons["rate_limit_requests"] > 0
    assert seen.statuses[200] > 30
    assert 500 not in seen.statuses, seen


def read_rows(postgres: PostgresServer, database: str) -> dict[str, tuple[int, int, int]]:
    """Prompt tokens, answer tokens and cost of each bill."""
    told: list[Any] = postgres.execute(
        "SELECT id, prompt_tokens, completion_tokens, cost_nanos FROM usage_rows",
        database.rpartition("/")[2],
    )
    return {name: (prompt, answer, nanos) for name, prompt, answer, nanos in told}


def check_tokens(rows: dict[str, tuple[int, int, int]], server: FaultyServer, seen: Seen) -> None:
    assert len(rows) > 30
    for name, (prompt, answer, nanos) in rows.items():
        assert answer == server.counted.get(name, 0), name
        assert answer == seen.pieces.get(name, answer), name
        # The prompt is known only to a server that came to its end.
        assert prompt in (0, PROMPT_TOKENS)
        assert nanos == prompt + answer
    # Whatever reached a client was billed.
    assert {name for name, count in seen.pieces.items() if count} <= set(rows)


def check_limits(
    rows: dict[str, tuple[int, int, int]],
    server: FaultyServer,
    seen: Seen,
    free: str,
    capped: str,
    seconds: float,
) -> None:
    admitted = Counter(seen.keys[name] for name in server.asked)
    for key in (free, capped):
        assert 0 < admitted[key] <= BURST + PER_SECOND * seconds
    spent = sum(nanos for name, (_, _, nanos) in rows.items() if seen.keys[name] == capped)
    assert 0 < spent <= CAP_NANOS
