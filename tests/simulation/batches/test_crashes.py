"""Batches under kills: whatever turn of the event loop a process dies in, the next one goes on.

A life is the whole batch office over a store and a folder that outlive it. When it dies, nothing it
still does reaches either: cancelled code that tries is cut off. Then the next life starts.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tokenyard.jobs.batches.folder import FileFolder
from tokenyard.jobs.batches.lines import line_id
from tokenyard.jobs.batches.office import BatchOffice, make_office
from tokenyard.jobs.batches.records import Batch, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import FINAL, BatchStatus
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.records import UsageRow
from tokenyard.protocol.chat_completions import AnswerMessage, ChatChoice, ChatCompletion, UsageBody
from tokenyard.protocol.models import Model
from tokenyard.protocol.sse import SseEvent
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.settings import BatchSettings, Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory import MemoryStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall, Health
from tokenyard.vocabulary.errors import InvalidRequest, UpstreamFailed
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, DEFAULT_USER, Principal
from tokenyard.vocabulary.ids import BatchId, FileId

# The dead do not close their files.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MODEL, CHAT = "fake", "/v1/chat/completions"
ME = Principal(DEFAULT_USER, DEFAULT_PROJECT, None)
PRICES = (PriceSettings(model=MODEL, input="2", cached_input="1", output="10"),)
# Half of 3 tokens at $2 and 5 at $10 per million.
LINE_NANOS = 28_000
TURNS_MAX = 20_000


class Killed(Exception):
    """The process has died; raised in the harness only."""


class Life:
    """One process: how many turns it has, and what becomes of its code after its death."""

    def __init__(self, turns: int | None) -> None:
        self._left = turns
        self.turns = 0
        self.dead = False

    async def turn(self) -> None:
        """Let every ready task run once; raises Killed when the time has come."""
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self.dead = True
                raise Killed
        self.turns += 1
        assert self.turns < TURNS_MAX, "it never ends"
        await asyncio.sleep(0)

    async def step(self) -> None:
        """A place where the process may die; the dead do not go past it."""
        await asyncio.sleep(0)
        if self.dead:
            raise asyncio.CancelledError

    def mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call with a place to die before it and one after it."""

        async def run(*arguments: Any, **named: Any) -> Any:
            await self.step()
            result = await call(*arguments, **named)
            await self.step()
            return result

        return run


class MortalClock(SimulatedClock):
    """Its turns are the life's."""

    def __init__(self, start: float, life: Life) -> None:
        super().__init__(start)
        self._life = life

    async def settle(self, turns: int = 20) -> None:
        for _ in range(turns):
            await self._life.turn()


class MortalStore:
    """Every call of the store is cut off by death, before or after it happened."""

    def __init__(self, world: "World", life: Life) -> None:
        self._world = world
        self._life = life

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._world.store.batches, name)
        return self._life.mortal(self._world.watch(name, call))


class FakeServer:
    """Answers what the line says: `bad` is refused, `flaky` breaks the first time it is asked."""

    continues = False

    def __init__(self, world: "World", life: Life) -> None:
        self._world = world
        self._life = life

    async def health(self) -> Health:
        return Health.READY

    async def models(self) -> list[Model]:
        return [Model(id=MODEL, created=0, owned_by="test", context_window=1000)]

    async def count_tokens(self, model: str, turns: object) -> int | None:
        return None

    async def tokenize(self, model: str, prompt: object) -> list[int] | None:
        return None

    async def detokenize(self, model: str, tokens: object) -> str | None:
        return None

    async def load(self) -> None:
        return None

    async def complete(self, call: GenerationCall) -> bytes:
        await self._life.step()
        said = json.loads(call.body)["messages"][0]["content"]
        await self._world.note_asked(said)
        kind = said.split()[0]
        for _ in range(self._world.random.randrange(4)):
            await self._life.step()
        if kind == "bad":
            raise InvalidRequest("No.")
        if kind == "flaky" and self._world.asked[said] == 1:
            raise UpstreamFailed("It broke.")
        choice = ChatChoice(index=0, message=AnswerMessage(content=said), finish_reason="stop")
        usage = UsageBody.of(Usage(3, 5))
        await self._life.step()
        return msgspec.json.encode(
            ChatCompletion(id="x", created=0, model=MODEL, choices=[choice], usage=usage)
        )

    def stream(self, call: GenerationCall) -> AsyncIterator[SseEvent]:
        raise AssertionError("lines are answered whole")

    def frames(self, call: GenerationCall) -> AsyncIterator[bytes]:
        raise AssertionError("lines are answered whole")

    async def abort(self, request_id: str) -> None:
        raise AssertionError("lines are broken off by closing")

    async def close(self) -> None:
        return


@dataclass
class World:
    """What outlives a process, and what was seen from outside."""

    folder: Path
    random: random.Random
    settings: Settings
    store: MemoryStore = field(default_factory=MemoryStore)
    now: float = 1_700_000_000.0
    asked: Counter[str] = field(default_factory=Counter)
    # Bills in the order in which they were taken in.
    bills: list[UsageRow] = field(default_factory=list)
    lives: int = 0

    async def add_batch(self, name: str, kinds: list[str]) -> BatchId:
        lines = [
            {
                "custom_id": f"{name}-{number}",
                "method": "POST",
                "url": CHAT,
                "body": {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": f"{kind} {name} {number}"}],
                },
            }
            for number, kind in enumerate(kinds, start=1)
        ]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = StoredFile(
            FileId(f"file_{name}"), ME.project, ME.user, name, Purpose.BATCH, len(data), self.now
        )
        (self.folder / file.id).write_bytes(data)
        await self.store.batches.add_file(file, project_bytes_max=10**9)
        batch = Batch(
            id=BatchId(f"batch_{name}"),
            project=ME.project,
            user=ME.user,
            key=None,
            endpoint=CHAT,
            input_file=file.id,
            status=BatchStatus.VALIDATING,
            created_at=self.now,
            expires_at=self.now + self.settings.batches.window_seconds,
        )
        await self.store.batches.add_batch(batch, open_max=100)
        return batch.id

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if name != "finish_line":
            return call

        async def finish_line(batch: BatchId, result: LineResult, usage: UsageRow | None) -> bool:
            new = bool(await call(batch, result, usage))
            if new and usage is not None:
                self.bills.append(usage)
            return new

        return finish_line

    async def note_asked(self, said: str) -> None:
        """A line that has a committed result is never asked again."""
        _, name, number = said.split()
        finished = await self.store.batches.finished_numbers(BatchId(f"batch_{name}"))
        assert int(number) not in finished, said
        found = await self.batch(BatchId(f"batch_{name}"))
        assert found.status is BatchStatus.IN_PROGRESS, found.status
        self.asked[said] += 1

    async def batch(self, id: BatchId) -> Batch:
        found = await self.store.batches.find_batch(id, ME.project)
        assert found is not None
        return found

    async def live(
        self, turns: int | None, act: Callable[[BatchOffice], Any] | None = None
    ) -> tuple[bool, int]:
        """One life of at most that many turns; whether all batches ended, and its turns."""
        self.lives += 1
        life = Life(turns)
        clock, written = MortalClock(self.now, life), StringIO()
        log, metrics = Log(written, clock), GatewayMetrics()
        try:
            async with TaskSupervisor(log.task_failed) as tasks:
                try:
                    await self._work(life, clock, tasks, log, metrics, act)
                    return True, life.turns
                except Killed:
                    return False, life.turns
        finally:
            self.now = clock.now()
            failures = [text for text in written.getvalue().splitlines() if "failed" in text]
            assert not failures, failures

    async def _work(
        self,
        life: Life,
        clock: MortalClock,
        tasks: TaskSupervisor,
        log: Log,
        metrics: GatewayMetrics,
        act: Callable[[BatchOffice], Any] | None,
    ) -> None:
        randomness = SeededRandomness(self.lives)
        pool = UpstreamPool(self.settings.upstreams, clock=clock, tasks=tasks, metrics=metrics)
        pool.expect("one", frozenset({MODEL}))
        await pool.attach("one", FakeServer(self, life))
        ledger = Ledger(
            self.store.ledger, self.settings.ledger, clock=clock, randomness=randomness, log=log
        )
        await ledger.start()
        store: Any = MortalStore(self, life)
        office = make_office(
            self.settings,
            files=store,
            batches=store,
            folder=FileFolder(self.folder, beside=life.mortal(_at_once)),
            interactive=lambda: 0,
            pool=pool,
            ledger=ledger,
            tasks=tasks,
            clock=clock,
            randomness=randomness,
            log=log,
            metrics=metrics,
        )
        starting = tasks.spawn("start", office.start())
        while not starting.done():
            await life.turn()
        if act is not None:
            tasks.spawn("act", act(office))
        while await self.store.batches.open_batches():
            await clock.advance(0.05)
        # What the last batch still does after its end was committed.
        await clock.settle(20)
        assert ledger.open_reservations == 0

    async def check(self, id: BatchId, kinds: list[str], *, all_ran: bool = True) -> Batch:
        """No line is lost, none is there twice, and each answer has one bill."""
        batch = await self.batch(id)
        assert batch.status in FINAL
        output = self._read(batch.output_file)
        errors = self._read(batch.error_file)
        name = id.removeprefix("batch_")
        answered = [line["custom_id"] for line in output]
        ran = [line for line in errors if line["response"] is not None]
        everything = sorted(answered + [line["custom_id"] for line in errors])
        assert everything == sorted(f"{name}-{n}" for n in range(1, len(kinds) + 1))
        for line in output:
            kind, _, number = line["response"]["body"]["choices"][0]["message"]["content"].split()
            assert line["custom_id"] == f"{name}-{number}"
            assert kind == kinds[int(number) - 1] != "bad"
        assert all(line["response"]["status_code"] == 400 for line in ran)
        assert (batch.completed, batch.failed) == (len(output), len(ran))
        assert batch.usage == Usage(3 * len(output), 5 * len(output))
        bills = [row for row in self.bills if row.id.startswith(line_id(id, 0)[:-1])]
        expected = {line_id(id, int(custom.split("-")[1])) for custom in answered}
        assert Counter(row.id for row in bills) == Counter(expected)
        assert {row.id for row in self.store.state.books.usage.values()} >= expected
        assert sum(row.cost.nanos for row in bills) == LINE_NANOS * len(output)
        if all_ran:
            assert batch.status is BatchStatus.COMPLETED
            assert len(output) == sum(kind != "bad" for kind in kinds)
            assert len(ran) == len(errors) == kinds.count("bad")
        assert await self.store.batches.results(id, after=0, limit=10) == []
        return batch

    async def check_folder(self) -> None:
        """What the dead left there is gone since the last start."""
        known = await self.store.batches.file_ids()
        assert {path.name for path in self.folder.iterdir()} == known

    def _read(self, file: FileId | None) -> list[Any]:
        if file is None:
            return []
        return [json.loads(line) for line in (self.folder / file).read_bytes().splitlines()]


async def _at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def make_world(folder: Path, seed: int, **batches: Any) -> World:
    chosen = {"retry_seconds_min": 0.1, "poll_seconds": 0.05, **batches}
    settings = Settings(
        batches=BatchSettings(**chosen), ledger=LedgerSettings(prices=PRICES, batch_factor="1/2")
    )
    return World(folder, random.Random(seed), settings)


async def test_a_life_that_is_not_cut_short(tmp_path: Path) -> None:
    world = make_world(tmp_path, 1)
    kinds = ["good", "bad", "flaky", "good"]
    batch = await world.add_batch("a", kinds)
    ended, _ = await world.live(None)
    assert ended
    await world.check(batch, kinds)
    assert world.asked["flaky a 3"] == 2


async def test_a_kill_in_any_turn_loses_no_line_and_bills_none_twice(tmp_path: Path) -> None:
    """Every turn of a small batch, one after the other; the next life ends it."""
    kinds = ["good", "bad", "flaky"]
    turns, kills = 0, 0
    while True:
        folder = tmp_path / str(turns)
        folder.mkdir()
        world = make_world(folder, 7, lines_in_flight_max=2)
        batch = await world.add_batch("a", kinds)
        ended, _ = await world.live(turns)
        if ended:
            break
        kills += 1
        assert (await world.live(None))[0]
        await world.check(batch, kinds)
        await world.check_folder()
        turns += 1
    assert kills > 60


@pytest.mark.parametrize("seed", range(30))
async def test_kills_at_random_over_several_batches(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = make_world(
        tmp_path, seed, lines_in_flight_max=chance.randint(1, 5), running_max=chance.randint(1, 3)
    )
    batches = {}
    for name in "abc":
        kinds = chance.choices(["good", "bad", "flaky"], [6, 1, 2], k=chance.randint(1, 12))
        batches[await world.add_batch(name, kinds)] = kinds
    for _ in range(chance.randint(1, 12)):
        if (await world.live(chance.randint(0, 120)))[0]:
            break
    assert (await world.live(None))[0]
    for batch, kinds in batches.items():
        await world.check(batch, kinds)
    await world.check_folder()


@pytest.mark.parametrize("seed", range(20))
async def test_kills_around_a_cancellation(tmp_path: Path, seed: int) -> None:
    """The client asks again until it hears an answer; what ended before stays."""
    chance = random.Random(seed)
    world = make_world(tmp_path, seed, lines_in_flight_max=2)
    kinds = chance.choices(["good", "bad", "flaky"], [6, 1, 2], k=10)
    batch = await world.add_batch("a", kinds)
    await world.live(chance.randint(0, 150))

    async def cancel(office: BatchOffice) -> None:
        found = await office.batches.get(ME, batch)
        if found.status not in FINAL | {BatchStatus.FINALIZING}:
            await office.batches.cancel(ME, batch)

    for _ in range(chance.randint(0, 3)):
        await world.live(chance.randint(0, 100), cancel)
    assert (await world.live(None, cancel))[0]
    ended = await world.check(batch, kinds, all_ran=False)
    assert ended.status in (BatchStatus.CANCELLED, BatchStatus.COMPLETED)
    await world.check_folder()


@pytest.mark.parametrize("seed", range(20))
async def test_kills_around_the_end_of_the_window(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = make_world(tmp_path, seed, lines_in_flight_max=1, window_seconds=0.6)
    kinds = chance.choices(["good", "bad", "flaky"], [6, 1, 2], k=40)
    batch = await world.add_batch("a", kinds)
    for _ in range(chance.randint(1, 6)):
        if (await world.live(chance.randint(0, 200)))[0]:
            break
        world.now += chance.choice([0.0, 0.1, 0.5])
    assert (await world.live(None))[0]
    ended = await world.check(batch, kinds, all_ran=False)
    assert ended.status in (BatchStatus.EXPIRED, BatchStatus.COMPLETED)
    await world.check_folder()
