"""The contracts of `jobs.batches.ports`, over every store that keeps them."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import SqliteOpener, Store
from contract.samples import AT, ME, MINE, STRANGE_TEXT, THEIRS, usage_row
from tokenyard.jobs.batches.ports import BatchStore, FileStore
from tokenyard.jobs.batches.records import Batch, LineFault, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import FINAL, BatchStatus
from tokenyard.ledger.ports import GroupBy
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import BatchId, FileId, KeyId, ModelName, ProjectId
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

MUCH = 10**18


@pytest.fixture
def files(store: Store) -> FileStore:
    return store.batches


@pytest.fixture
def batches(store: Store) -> BatchStore:
    return store.batches


def file(name: str = "a", **changes: Any) -> StoredFile:
    made = StoredFile(
        id=FileId(f"file_{name}"),
        project=MINE,
        user=ME,
        filename=STRANGE_TEXT,
        purpose=Purpose.BATCH,
        bytes=100,
        created_at=AT,
        expires_at=AT + 1.5,
    )
    return replace(made, **changes)


def batch(name: str = "a", **changes: Any) -> Batch:
    made = Batch(
        id=BatchId(f"batch_{name}"),
        project=MINE,
        user=ME,
        key=KeyId("key_1"),
        endpoint="/v1/chat/completions",
        input_file=FileId("file_a"),
        status=BatchStatus.VALIDATING,
        created_at=AT,
        expires_at=AT + 86_400,
        metadata={"topic": STRANGE_TEXT},
        output_seconds=3_600,
        server_tags=frozenset({"eu"}),
    )
    return replace(made, **changes)


def running(made: Batch, **changes: Any) -> Batch:
    return replace(
        made,
        status=BatchStatus.IN_PROGRESS,
        model=ModelName("tiny"),
        total=3,
        stamps={BatchStatus.IN_PROGRESS: AT + 0.1},
        **changes,
    )


def result(number: int = 1, **changes: Any) -> LineResult:
    made = LineResult(
        number=number,
        custom_id=f"line {number} {STRANGE_TEXT}",
        request_id=f"req_{number}",
        status=200,
        body='{"text":"' + "ü" * 10 + '"}',
        usage=Usage(10, 20, cached_tokens=3, reasoning_tokens=4),
    )
    return replace(made, **changes)


async def opened(store: BatchStore, files: FileStore, **changes: Any) -> Batch:
    await files.add_file(file(), project_bytes_max=MUCH)
    made = batch(**changes)
    assert await store.add_batch(made, open_max=10)
    begun = running(made)
    assert await store.change_batch(begun, BatchStatus.VALIDATING)
    return begun


async def names(files: FileStore, **changes: Any) -> list[str]:
    asked: dict[str, Any] = {"purpose": None, "limit": 10, "after": None, "newest_first": False}
    found = await files.list_files(MINE, **{**asked, **changes})
    return [one.id.removeprefix("file_") for one in found]


async def test_a_file_comes_back_as_it_was(files: FileStore) -> None:
    assert await files.add_file(file(), project_bytes_max=100)
    assert await files.find_file(FileId("file_a"), MINE) == file()
    assert await files.find_file(FileId("file_a"), THEIRS) is None
    assert await files.find_file(FileId("file_b"), MINE) is None
    endless = file("b", expires_at=None, bytes=2**40)
    assert await files.add_file(endless, project_bytes_max=MUCH)
    assert await files.find_file(endless.id, MINE) == endless
    assert await files.file_ids() == {"file_a", "file_b"}


async def test_the_bytes_of_a_project_are_bounded(files: FileStore) -> None:
    taken = await asyncio.gather(
        *(files.add_file(file(str(n), bytes=30), project_bytes_max=100) for n in range(6))
    )
    assert taken.count(True) == 3
    assert await files.stored_bytes(MINE) == 90
    assert await files.add_file(file("theirs", project=THEIRS), project_bytes_max=100)
    assert await files.stored_bytes(THEIRS) == 100
    assert await files.stored_bytes(ProjectId("proj_none")) == 0


async def test_files_are_listed_by_time_then_id(files: FileStore) -> None:
    for name, at, purpose in (
        ("c", AT, Purpose.BATCH),
        ("a", AT + 1, Purpose.USER_DATA),
        ("b", AT, Purpose.BATCH_OUTPUT),
        ("d", AT + 2, Purpose.BATCH),
    ):
        await files.add_file(file(name, created_at=at, purpose=purpose), project_bytes_max=MUCH)
    await files.add_file(file("x", project=THEIRS), project_bytes_max=MUCH)
    assert await names(files) == ["b", "c", "a", "d"]
    assert await names(files, newest_first=True) == ["d", "a", "c", "b"]
    assert await names(files, after=FileId("file_c"), limit=1) == ["a"]
    assert await names(files, after=FileId("file_a"), newest_first=True) == ["c", "b"]
    assert await names(files, purpose=Purpose.BATCH) == ["c", "d"]
    assert await names(files, purpose=Purpose.BATCH, after=FileId("file_a")) == ["d"]
    for unknown in ("file_x", "file_none"):
        with pytest.raises(InvalidRequest) as refused:
            await names(files, after=FileId(unknown))
        assert refused.value.reason is Reason.INVALID_CURSOR


async def test_a_file_is_not_deleted_under_a_batch(files: FileStore, batches: BatchStore) -> None:
    made = await opened(batches, files)
    assert not await files.delete_file(FileId("file_a"), THEIRS)
    with pytest.raises(Conflict) as refused:
        await files.delete_file(FileId("file_a"), MINE)
    assert refused.value.reason is Reason.FILE_IN_USE
    assert await files.expired_files(2 * AT, limit=5) == []
    assert await batches.end_batch(
        replace(made, status=BatchStatus.FAILED), BatchStatus.IN_PROGRESS, []
    )
    assert await files.expired_files(AT + 1.4, limit=5) == []
    assert await files.expired_files(AT + 1.5, limit=5) == [file()]
    assert await files.delete_file(FileId("file_a"), MINE)
    assert not await files.delete_file(FileId("file_a"), MINE)
    assert await files.find_file(FileId("file_a"), MINE) is None


async def test_a_batch_comes_back_as_it_was(files: FileStore, batches: BatchStore) -> None:
    await files.add_file(file(), project_bytes_max=MUCH)
    assert await batches.add_batch(batch(), open_max=1)
    assert await batches.find_batch(BatchId("batch_a"), MINE) == batch()
    assert await batches.find_batch(BatchId("batch_a"), THEIRS) is None
    bare = batch("b", key=None, metadata={}, output_seconds=None)
    assert await batches.add_batch(bare, open_max=2)
    assert await batches.find_batch(bare.id, MINE) == bare
    full = running(
        batch(),
        faults=(
            LineFault(Reason.INVALID_JSON, STRANGE_TEXT, "body.x", 7),
            LineFault(Reason.EMPTY_FILE, "nothing"),
        ),
        stopped=Reason.BATCH_EXPIRED,
        output_file=FileId("file_out"),
        error_file=FileId("file_err"),
    )
    assert await batches.change_batch(full, BatchStatus.VALIDATING)
    assert await batches.find_batch(full.id, MINE) == full


async def test_a_batch_needs_its_file_and_a_place(files: FileStore, batches: BatchStore) -> None:
    with pytest.raises(NotFound):
        await batches.add_batch(batch(), open_max=5)
    await files.add_file(file(), project_bytes_max=MUCH)
    with pytest.raises(NotFound):
        await batches.add_batch(batch(project=THEIRS), open_max=5)
    taken = await asyncio.gather(
        *(batches.add_batch(batch(str(number)), open_max=2) for number in range(4))
    )
    assert taken.count(True) == 2
    first = (await batches.open_batches())[0]
    assert await batches.end_batch(
        replace(first, status=BatchStatus.CANCELLED), BatchStatus.VALIDATING, []
    )
    assert await batches.add_batch(batch("late"), open_max=2)


async def test_batches_are_listed_newest_first(files: FileStore, batches: BatchStore) -> None:
    await files.add_file(file(), project_bytes_max=MUCH)
    for name, at in (("b", AT), ("c", AT + 1), ("a", AT)):
        await batches.add_batch(batch(name, created_at=at), open_max=5)
    listed = await batches.list_batches(MINE, limit=2, after=None)
    assert [one.id for one in listed] == ["batch_c", "batch_b"]
    listed = await batches.list_batches(MINE, limit=2, after=BatchId("batch_b"))
    assert [one.id for one in listed] == ["batch_a"]
    assert [one.id for one in await batches.open_batches()] == ["batch_a", "batch_b", "batch_c"]
    assert await batches.list_batches(THEIRS, limit=2, after=None) == []
    with pytest.raises(InvalidRequest):
        await batches.list_batches(THEIRS, limit=2, after=BatchId("batch_b"))


async def test_of_two_who_change_a_batch_one_does(files: FileStore, batches: BatchStore) -> None:
    begun = await opened(batches, files)
    rivals = [
        replace(begun, status=BatchStatus.FINALIZING),
        replace(begun, status=BatchStatus.CANCELLING),
    ]
    changed = await asyncio.gather(
        *(batches.change_batch(one, BatchStatus.IN_PROGRESS) for one in rivals)
    )
    assert changed == [True, False]
    found = await batches.find_batch(begun.id, MINE)
    assert found is not None
    assert found.status is BatchStatus.FINALIZING
    assert not await batches.change_batch(batch("none"), BatchStatus.VALIDATING)


async def test_a_line_its_count_and_its_bill_are_written_once(
    store: Store, files: FileStore, batches: BatchStore
) -> None:
    begun = await opened(batches, files)
    bill = usage_row("line_1", cost=Money(7))
    written = await asyncio.gather(
        *(batches.finish_line(begun.id, result(body=str(n)), bill) for n in range(5))
    )
    assert written.count(True) == 1
    winner = str(written.index(True))
    failed = result(3, status=400, usage=None, body="{}")
    assert await batches.finish_line(begun.id, failed, None)
    assert await batches.finished_numbers(begun.id) == {1, 3}
    assert await batches.results(begun.id, after=0, limit=5) == [result(body=winner), failed]
    assert await batches.results(begun.id, after=1, limit=5) == [failed]
    assert await batches.results(begun.id, after=0, limit=1) == [result(body=winner)]
    found = await batches.find_batch(begun.id, MINE)
    assert found == replace(
        begun, completed=1, failed=1, usage=Usage(10, 20, cached_tokens=3, reasoning_tokens=4)
    )
    totals = await store.ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    assert [(total.requests, total.cost.nanos) for total in totals] == [(1, 7)]


@pytest.mark.parametrize("status", sorted(FINAL | {BatchStatus.FINALIZING}))
async def test_a_batch_that_takes_no_results_takes_no_bill_either(
    store: Store, files: FileStore, batches: BatchStore, status: BatchStatus
) -> None:
    begun = await opened(batches, files)
    assert await batches.change_batch(replace(begun, status=status), BatchStatus.IN_PROGRESS)
    assert not await batches.finish_line(begun.id, result(), usage_row("line_1"))
    assert not await batches.finish_line(BatchId("batch_none"), result(), usage_row("line_2"))
    assert await batches.finished_numbers(begun.id) == set()
    assert await store.ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL) == []


async def test_the_end_adds_the_files_and_drops_the_results(
    files: FileStore, batches: BatchStore
) -> None:
    begun = await opened(batches, files)
    await batches.finish_line(begun.id, result(), usage_row("line_1"))
    late = replace(begun, status=BatchStatus.FINALIZING)
    assert await batches.change_batch(late, BatchStatus.IN_PROGRESS)
    ended = replace(
        late, status=BatchStatus.COMPLETED, failed=2, output_file=FileId("file_out"), completed=9
    )
    output = file("out", purpose=Purpose.BATCH_OUTPUT, bytes=2**40)
    assert not await batches.end_batch(ended, BatchStatus.IN_PROGRESS, [output])
    assert await files.find_file(output.id, MINE) is None
    assert await batches.end_batch(ended, BatchStatus.FINALIZING, [output])
    found = await batches.find_batch(begun.id, MINE)
    assert found == replace(
        ended, completed=1, usage=Usage(10, 20, cached_tokens=3, reasoning_tokens=4)
    )
    assert await files.find_file(output.id, MINE) == output
    assert await batches.results(begun.id, after=0, limit=5) == []
    assert await batches.open_batches() == []
    assert not await batches.end_batch(ended, BatchStatus.FINALIZING, [file("more")])


async def test_a_file_database_keeps_what_was_committed(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as first:
        begun = await opened(first.batches, first.batches)
        await first.batches.finish_line(begun.id, result(2), usage_row("line_2"))
    async with sqlite.open() as second:
        assert await second.batches.finished_numbers(begun.id) == {2}
        (found,) = await second.batches.open_batches()
        assert found.completed == 1
        assert not await second.batches.finish_line(begun.id, result(2), usage_row("line_2"))
