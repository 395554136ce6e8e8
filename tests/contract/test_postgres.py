"""What the Postgres store promises beyond the ports: many processes, outages, and lost answers."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from sqlalchemy import Connection, create_engine, text

from contract.comparison import configure_comparison
from contract.conftest import Opener
from contract.samples import AT, MINE, STRANGE_TEXT, conversation, item, response, usage_row
from contract.test_sqlite import CHILD, SOURCE, TESTS
from support.job_records import make_job, submitted
from support.postgres_server import PostgresServer, run_postgres
from tokenyard.chat.records import Tip
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.schema import items, metadata
from tokenyard.storage.sql.store import SqlStore
from tokenyard.vocabulary.errors import InternalFailure, StartError, Unavailable
from tokenyard.vocabulary.ids import ConversationId
from tokenyard.vocabulary.reasons import Reason


class Proxy:
    """Stands between the writer and the server, and breaks the line at a commit when told to."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # Cut before the commit reached the server, or after it was done and before that was told.
        self.cut_before = False
        self.cut_after = False
        # What happens before the writer hears that the line is cut.
        self.meanwhile: Callable[[], None] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                committing = b"COMMIT" in data
                if committing and self.cut_before:
                    self.cut_before = False
                    self.meanwhile()
                    break
                # The server tells that it has committed with the same word.
                if committing and self.cut_after and target.getpeername() != self._target:
                    self.cut_after = False
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def opener(empty_postgres: str, supervisor: TaskSupervisor) -> Opener:
    return Opener(empty_postgres, supervisor)


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    made = Proxy(postgres_server.port)
    yield made
    made.close()


async def usage_count(store: SqlStore) -> int:
    totals = await store.ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    return sum(total.requests for total in totals)


def test_an_empty_database_gets_the_tables_of_the_schema(postgres_server: PostgresServer) -> None:
    url = postgres_server.make_database()
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILD), url, "--leave"],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": f"{SOURCE}:{TESTS}"},
        )
        for _ in range(3)
    ]
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, b"ready\n")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert compare_metadata(configure_comparison(connection), metadata) == []
    engine.dispose()


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_counts_once(
    opener: Opener, proxy: Proxy, postgres_server: PostgresServer, cut: str
) -> None:
    opener.place = str(opener.place).replace(f":{postgres_server.port}/", f":{proxy.port}/")
    async with opener.open() as store:
        assert await store.ledger.add_usage(usage_row("first"))
        if cut == "before":
            proxy.cut_before = True
        else:
            proxy.cut_after = True
        told = await asyncio.gather(
            *(store.ledger.add_usage(usage_row(f"row_{number}")) for number in range(20))
        )
        assert not proxy.cut_before
        assert not proxy.cut_after
        # Had it been done twice, the second time would have said that they were there before.
        assert told == [True] * 20
        assert await usage_count(store) == 21
    assert opener.lines.getvalue().count("storage.lost") == 1
    assert opener.lines.getvalue().count("storage.found") == 1


async def test_a_number_that_a_crashed_server_gives_again_is_not_taken_for_ours(
    supervisor: TaskSupervisor,
) -> None:
    with run_postgres() as server:
        proxy = Proxy(server.port)

        def crash() -> None:
            server.kill()
            server.start()
            # Transactions of others, one of which gets the number of the one that was lost.
            for _ in range(20):
                server.execute("SELECT pg_current_xact_id()")

        url = server.make_database().replace(f":{server.port}/", f":{proxy.port}/")
        opener = Opener(url, supervisor)
        async with opener.open() as store:
            assert await store.ledger.add_usage(usage_row("first"))
            proxy.meanwhile, proxy.cut_before = crash, True
            assert await store.ledger.add_usage(usage_row("second"))
            assert await usage_count(store) == 2
        proxy.close()


async def test_a_server_that_dies_and_comes_back_is_waited_for(supervisor: TaskSupervisor) -> None:
    with run_postgres() as server:
        opener = Opener(server.make_database(), supervisor)
        async with opener.open() as store:
            told: list[bool] = []

            async def write(writer: int) -> None:
                for number in range(60):
                    told.append(await store.ledger.add_usage(usage_row(f"{writer}_{number}")))
                    await store.identity.list_keys(MINE)

            async with asyncio.TaskGroup() as writers:
                for writer in range(8):
                    writers.create_task(write(writer))
                while len(told) < 100:
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            assert told == [True] * 480
            assert await usage_count(store) == 480
        assert opener.lines.getvalue().count("storage.lost") >= 1


async def test_a_server_that_stays_away_is_told_at_once_and_then_forgotten(
    supervisor: TaskSupervisor,
) -> None:
    with run_postgres() as server:
        opener = Opener(server.make_database(), supervisor)
        async with opener.open(StorageSettings(busy_seconds=0.3)) as store:
            assert await store.ledger.add_usage(usage_row("a"))
            await asyncio.to_thread(server.stop)
            for _ in range(2):
                waiting = (
                    store.ledger.add_usage(usage_row("b")),
                    store.identity.list_keys(MINE),
                )
                for failed in await asyncio.gather(*waiting, return_exceptions=True):
                    assert isinstance(failed, Unavailable)
                    assert failed.reason is Reason.STORAGE_UNAVAILABLE
                    assert failed.retry_after_seconds
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(20):
                while True:
                    with suppress(Unavailable):
                        assert await store.ledger.add_usage(usage_row("b"))
                        break
                    await asyncio.sleep(0.05)
            assert await usage_count(store) == 2


async def test_nobody_there_stops_the_start(supervisor: TaskSupervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    opener = Opener(f"postgresql://me:hunter2@127.0.0.1:{port}/nothing", supervisor)
    with pytest.raises(StartError, match="cannot be reached") as refusal:
        async with opener.open(StorageSettings(busy_seconds=0.1)):
            pass
    assert "hunter2" not in str(refusal.value)
    assert "storage.database_url" in str(refusal.value)


async def test_a_database_that_is_not_there_stops_the_start_at_once(
    postgres_server: PostgresServer, supervisor: TaskSupervisor
) -> None:
    opener = Opener(postgres_server.url("nowhere"), supervisor)
    with pytest.raises(StartError, match="does not exist"):
        async with opener.open(StorageSettings(busy_seconds=3600)):
            pass


async def test_a_newer_database_stops_the_start(opener: Opener) -> None:
    async with opener.open():
        pass
    with psycopg.connect(str(opener.place), autocommit=True) as connection:
        (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        try:
            with pytest.raises(StartError, match=r"newer version of Tokenyard.*9999"):
                async with opener.open():
                    pass
        finally:
            connection.execute("UPDATE alembic_version SET version_num = %s", before)


async def test_writers_of_many_processes_count_as_one(opener: Opener) -> None:
    """What is read before it is decided may not change before it is written."""
    async with opener.open() as first, opener.open() as second:
        jobs = [make_job(number) for number in range(40)]
        told = await asyncio.gather(
            *(
                (first, second)[number % 2].jobs.add_jobs([submitted(job)], open_max=25)
                for number, job in enumerate(jobs)
            )
        )
        assert sum(told) == 25
        found, _ = await first.jobs.open_jobs()
        assert len(found) == 25


async def test_a_process_that_is_frozen_in_a_transaction_holds_up_nobody_for_long(
    opener: Opener,
) -> None:
    gate = threading.Event()

    def freeze(connection: Connection) -> int:
        connection.execute(text("SELECT 1"))
        gate.wait(20)
        return 1

    settings = StorageSettings(busy_seconds=0.6)
    async with opener.open(settings) as frozen, opener.open(settings) as other:
        # The stores share the writer with nobody, so that the test reaches in.
        held = asyncio.ensure_future(frozen.ledger._writer.write(freeze))
        await asyncio.sleep(0.1)
        assert await other.ledger.add_usage(usage_row("other"))
        gate.set()
        # It wakes up, finds its transaction ended, and does it again.
        assert await held == 1


async def test_text_that_postgres_cannot_hold_is_stored_as_a_browser_would_show_it(
    opener: Opener,
) -> None:
    async with opener.open() as store:
        await store.chat.add_conversation(
            conversation(1, metadata={"a\0b": "c\0"}), [item("a", text=f"{STRANGE_TEXT}\0!")]
        )
        (found,) = await store.chat.list_items(ConversationId("conv_001"), limit=9)
        assert found.text == f"{STRANGE_TEXT}\ufffd!"
        kept = await store.chat.find_conversation(ConversationId("conv_001"), MINE)
        assert kept is not None
        assert kept.metadata == {"a\0b": "c\0"}


async def test_a_failure_tells_the_log_its_cause_but_no_prompt(opener: Opener) -> None:
    def leave_out(connection: Connection) -> None:
        row = {"id": "msg_x", "text": "my secret", "role": None, "created_at": AT, "complete": True}
        connection.execute(items.insert(), row)

    async with opener.open() as store:
        with pytest.raises(InternalFailure) as refusal:
            await store.ledger._writer.write(leave_out)
        await store.chat.add_conversation(conversation(), [item("a")])
        with pytest.raises(InternalFailure):
            await store.chat.add_conversation(conversation(), [item("b")])
    logged = opener.lines.getvalue()
    assert "NotNullViolation 23502" in logged
    assert 'duplicate key value violates unique constraint \\"pk_conversations\\"' in logged
    assert "my secret" not in logged + refusal.value.message


async def test_of_two_gateways_one_answers_a_conversation(opener: Opener) -> None:
    async with opener.open() as one, opener.open() as other:
        talks = [conversation(number) for number in range(1, 9)]
        for talk in talks:
            await one.chat.add_conversation(talk, [])
        asked = [
            store.chat.open_response(
                response(10 * number + place, conversation=talk.id),
                [item(f"{number}_{place}")],
                AT,
                tip=Tip(None),
            )
            for number, talk in enumerate(talks, start=1)
            for place, store in enumerate((one, other, one, other))
        ]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        for start in range(0, len(outcomes), 4):
            refused = [one for one in outcomes[start : start + 4] if one is not None]
            assert [getattr(one, "reason", one) for one in refused] == 3 * [
                Reason.CONVERSATION_BUSY
            ]
        assert len(await other.chat.list_active([talk.id for talk in talks])) == len(talks)
