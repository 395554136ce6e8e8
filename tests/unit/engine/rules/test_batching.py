"""The step planner: budget, order, memory, progress, and that chunking changes nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.rules.batching import Batch, BatchLimits, Sequence, SequenceState, StepPlan
from tokenyard.engine.rules.paging import BlockPool

BLOCK = 4


def make_batch(
    *,
    blocks: int = 64,
    step: int = 32,
    sequences: int = 8,
    chunk: int = 32,
    prefix_cache: bool = True,
    spare: int = 0,
    reserves: bool = True,
) -> Batch:
    limits = BatchLimits(step, sequences, BLOCK, chunk, spare, reserves)
    return Batch(BlockPool(blocks), limits, prefix_cache=prefix_cache)


def draw(plan: StepPlan, token: int = 1) -> dict[int, int]:
    return {chunk.sequence.id: token for chunk in plan.chunks if chunk.draws}


def shape(plan: StepPlan) -> list[tuple[int, int, int, bool]]:
    return [(chunk.sequence.id, chunk.start, chunk.count, chunk.draws) for chunk in plan.chunks]


def test_a_long_prompt_is_cut_into_chunks_and_draws_once() -> None:
    batch = make_batch(step=10)
    batch.add(Sequence(1, list(range(25))))
    shapes = []
    for _ in range(4):
        plan = batch.plan_step()
        shapes += shape(plan)
        batch.settle(plan, draw(plan))
    assert shapes == [(1, 0, 10, False), (1, 10, 10, False), (1, 20, 5, True), (1, 25, 1, True)]


def test_decodes_go_first_and_prompts_take_what_is_left() -> None:
    batch = make_batch(step=8, chunk=5)
    batch.add(Sequence(1, [1, 2, 3]))
    plan = batch.plan_step()
    batch.settle(plan, draw(plan))
    batch.add(Sequence(2, list(range(20))))
    plan = batch.plan_step()
    assert shape(plan) == [(1, 3, 1, True), (2, 0, 5, False)]
    assert plan.token_count == 6
    assert [sequence.id for sequence in plan.admitted] == [2]


def test_priority_comes_before_arrival_and_arrival_decides_inside() -> None:
    batch = make_batch(sequences=1)
    for number, priority in ((1, 5), (2, 0), (3, 0)):
        batch.add(Sequence(number, [number] * 3, priority=priority))
    order = []
    while batch.waiting or batch.running:
        plan = batch.plan_step()
        order += [sequence.id for sequence in plan.admitted]
        batch.settle(plan, draw(plan))
        batch.end(batch.running[0])
    assert order == [2, 3, 1]


def test_the_first_in_line_is_not_overtaken_by_one_that_would_fit() -> None:
    batch = make_batch(blocks=4)
    batch.add(Sequence(1, [1] * 12))
    batch.settle(batch.plan_step(), {1: 9})
    batch.add(Sequence(2, [2] * 8))
    batch.add(Sequence(3, [3] * 2))
    assert batch.plan_step().admitted == ()


def test_spare_blocks_stay_free_when_a_second_one_starts() -> None:
    batch = make_batch(blocks=4, spare=2)
    batch.add(Sequence(1, [1] * 8))
    batch.add(Sequence(2, [2] * 4))
    plan = batch.plan_step()
    assert [one.id for one in plan.admitted] == [1]
    assert batch.pool.available == 2


def test_without_reservation_a_prompt_starts_with_its_first_chunk() -> None:
    batch = make_batch(blocks=4, step=4, reserves=False)
    batch.add(Sequence(1, [1] * 5))
    batch.add(Sequence(2, [2] * 12))
    starts = [plan.admitted for plan in (batch.plan_step(), batch.plan_step()) if plan.admitted]
    assert [one.id for admitted in starts for one in admitted][:1] == [1]
    reserved = make_batch(blocks=4, step=8)
    eager = make_batch(blocks=4, step=8, reserves=False)
    for one in (reserved, eager):
        one.add(Sequence(1, [1] * 6))
        one.add(Sequence(2, [2] * 12))
        plan = one.plan_step()
        assert [sequence.id for sequence in plan.admitted] == ([1, 2] if one is eager else [1])


def test_the_youngest_gives_way_and_no_one_enters_in_that_step() -> None:
    batch = make_batch(blocks=4)
    batch.add(Sequence(1, [1] * 7))
    batch.add(Sequence(2, [2] * 7))
    for _ in range(2):
        plan = batch.plan_step()
        batch.settle(plan, draw(plan))
    batch.add(Sequence(3, [3]))
    plan = batch.plan_step()
    assert [sequence.id for sequence in plan.preempted] == [2]
    assert [chunk.sequence.id for chunk in plan.chunks] == [1]
    assert plan.admitted == ()
    assert [sequence.id for sequence in batch.waiting] == [2, 3]
    assert batch.waiting[0].tokens == [2] * 7 + [1, 1]
    batch.pool.check_integrity()


def test_a_stored_prefix_is_not_computed_again_but_its_last_token_is() -> None:
    batch = make_batch()
    prompt = list(range(3 * BLOCK))
    first = Sequence(1, list(prompt))
    batch.add(first)
    plan = batch.plan_step()
    batch.settle(plan, draw(plan))
    batch.end(first)
    again, longer, other = (
        Sequence(2, list(prompt)),
        Sequence(3, [*prompt, 77]),
        Sequence(4, list(prompt), salt="tenant"),
    )
    for sequence in (again, longer, other):
        batch.add(sequence)
    plan = batch.plan_step()
    assert shape(plan) == [(2, 8, 4, True), (3, 12, 1, True), (4, 0, 12, True)]
    assert [one.cached_count for one in (again, longer, other)] == [8, 12, 0]


def test_generated_text_is_found_by_the_next_turn() -> None:
    batch = make_batch()
    first = Sequence(1, [5] * 3)
    batch.add(first)
    for _ in range(7):
        plan = batch.plan_step()
        batch.settle(plan, draw(plan))
    batch.end(first)
    assert len(first.tokens) == 10
    follow = Sequence(2, [*first.tokens, 9, 9])
    batch.add(follow)
    batch.plan_step()
    assert follow.cached_count == 8


def test_without_the_prefix_cache_nothing_is_found() -> None:
    batch = make_batch(prefix_cache=False)
    for number in (1, 2):
        sequence = Sequence(number, list(range(9)))
        batch.add(sequence)
        plan = batch.plan_step()
        batch.settle(plan, draw(plan))
        batch.end(sequence)
        assert sequence.cached_count == 0


def test_ending_twice_is_quiet_and_an_ended_sequence_is_not_booked() -> None:
    batch = make_batch()
    sequence = Sequence(1, [1, 2, 3])
    batch.add(sequence)
    plan = batch.plan_step()
    batch.end(sequence)
    batch.end(sequence)
    batch.settle(plan, draw(plan))
    assert sequence.tokens == [1, 2, 3]
    assert sequence.state is SequenceState.ENDED
    assert batch.pool.used == 0


def next_token(tokens: list[int]) -> int:
    """A stand-in for the model: the next token depends on all tokens before it."""
    return hash(tuple(tokens)) % 7


class Ledger:
    """Checks that each drawn token saw exactly its own past, through the blocks."""

    def __init__(self, blocks: int) -> None:
        self.slots: dict[tuple[int, int], tuple[int, ...]] = {}

    def compute(self, plan: StepPlan) -> dict[int, int]:
        drawn = {}
        for chunk in plan.chunks:
            sequence = chunk.sequence
            for place in range(chunk.start, chunk.start + chunk.count):
                key = (sequence.blocks[place // BLOCK], place % BLOCK)
                # A slot remembers the whole past of its token, as keys and values do.
                self.slots[key] = tuple(sequence.tokens[: place + 1])
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if chunk.draws:
                for place in range(len(sequence.tokens)):
                    key = (sequence.blocks[place // BLOCK], place % BLOCK)
                    assert self.slots[key] == tuple(sequence.tokens[: place + 1])
                drawn[sequence.id] = next_token(sequence.tokens)
        return drawn


@pytest.mark.parametrize("prefix_cache", [True, False])
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    step=st.sampled_from([1, 7, 16, 64]),
    chunk=st.sampled_from([1, 5, 64]),
    blocks=st.integers(10, 40),
    spare=st.sampled_from([0, 0, 3, 40]),
    reserves=st.booleans(),
)
def test_any_traffic_ends_well(
    prefix_cache: bool, seed: int, step: int, chunk: int, blocks: int, spare: int, reserves: bool
) -> None:
    chance = random.Random(seed)
    batch = make_batch(
        blocks=blocks,
        step=step,
        chunk=chunk,
        sequences=5,
        prefix_cache=prefix_cache,
        spare=spare,
        reserves=reserves,
    )
    ledger = Ledger(blocks)
    wanted: dict[int, int] = {}
    alive: list[Sequence] = []
    prompts: dict[int, list[int]] = {}
    arrived = ended = 0
    for _ in range(3000):
        if arrived < 14 and chance.random() < 0.4:
            arrived += 1
            prompt = [chance.randrange(2) for _ in range(chance.randint(1, 24))]
            sequence = Sequence(arrived, list(prompt), priority=chance.randrange(2))
            wanted[sequence.id] = chance.randint(1, 15)
            prompts[sequence.id] = prompt
            alive.append(sequence)
            batch.add(sequence)
        if alive and chance.random() < 0.02:
            batch.end(alive.pop(chance.randrange(len(alive))))
            ended += 1
        plan = batch.plan_step()
        assert plan.token_count <= step
        assert not (plan.preempted and plan.admitted)
        assert len(batch.running) <= 5
        assert bool(plan.chunks) == bool(batch.running)
        batch.settle(plan, ledger.compute(plan))
        batch.pool.check_integrity()
        for sequence in list(alive):
            if len(sequence.tokens) - sequence.prompt_count >= wanted[sequence.id]:
                expected = list(prompts[sequence.id])
                while len(expected) < len(sequence.tokens):
                    expected.append(next_token(expected))
                assert sequence.tokens == expected
                batch.end(sequence)
                alive.remove(sequence)
                ended += 1
        if arrived == 14 and not alive:
            break
    assert ended == 14
    assert batch.pool.used == 0
    batch.pool.check_integrity()


def test_a_second_answer_waits_for_the_prompt_and_shares_its_blocks() -> None:
    batch = make_batch(step=8)
    prompt = list(range(18))
    leader, follower = Sequence(1, list(prompt)), Sequence(2, list(prompt))
    follower.leader = leader
    batch.add(leader)
    batch.add(follower)
    admitted = []
    for _ in range(4):
        plan = batch.plan_step()
        admitted.append([one.id for one in plan.admitted])
        batch.settle(plan, draw(plan))
    assert admitted == [[1], [], [], [2]]
    assert follower.cached_count == 16
    assert follower.blocks[:4] == leader.blocks[:4]
    assert follower.blocks[4] != leader.blocks[4]


def test_a_follower_goes_on_alone_when_its_leader_ends_early() -> None:
    batch = make_batch(step=8)
    leader, follower = Sequence(1, [5] * 18), Sequence(2, [5] * 18)
    follower.leader = leader
    batch.add(leader)
    batch.add(follower)
    batch.settle(batch.plan_step(), {})
    batch.end(leader)
    assert [one.id for one in batch.plan_step().admitted] == [2]
