"""Several processes over one store: one carries the batches of all."""

from dataclasses import replace

from support.batches import create, get, jsonl, line, until
from support.yards import open_fake_yard
from tokenyard.jobs.batches.rules.states import BatchStatus
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.identity import DEFAULT_PROJECT
from tokenyard.vocabulary.ids import BatchId
from tokenyard.vocabulary.reasons import Reason


async def test_one_of_several_processes_carries_the_batches_of_all() -> None:
    async with open_fake_yard() as yard:
        office = yard.office
        # This process only takes in, as a gateway beside others does.
        await office.watch.look(leads=False)
        made = await create(yard, jsonl([line(n) for n in range(3)]))
        await yard.clock.advance(5)
        assert (await get(yard, made))["status"] == "validating"
        await office.watch.look(leads=True)
        assert (await until(yard, made))["status"] == "completed"


async def test_a_batch_that_another_process_cancels_is_stopped() -> None:
    async with open_fake_yard() as yard:
        yard.upstream.script = Script(hold_after=1)
        made = await create(yard, jsonl([line(n) for n in range(3)]))
        await until(yard, made, "in_progress")
        batch = await yard.store.batches.find_batch(BatchId(made["id"]), DEFAULT_PROJECT)
        assert batch is not None
        stopped = replace(batch, status=BatchStatus.CANCELLING, stopped=Reason.BATCH_CANCELLED)
        assert await yard.store.batches.change_batch(stopped, BatchStatus.IN_PROGRESS)
        await yard.office.watch.look(leads=True)
        assert (await until(yard, made))["status"] == "cancelled"
