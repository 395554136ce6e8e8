"""No block is lost, shared by accident or evicted out of turn."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.rules.paging import NULL_BLOCK, BlockPool
from tokenyard.engine.rules.prefixes import BlockName


def name(number: int) -> BlockName:
    return BlockName(number.to_bytes(4, "big"))


def test_the_null_block_is_never_given_out() -> None:
    assert NULL_BLOCK not in BlockPool(5).take(5)


def test_more_than_there_is_cannot_be_taken() -> None:
    pool = BlockPool(2)
    with pytest.raises(ValueError, match="3 blocks asked for"):
        pool.take(3)
    assert pool.available == 2


def test_a_block_released_twice_is_an_error() -> None:
    pool = BlockPool(2)
    blocks = pool.take(1)
    pool.release(blocks)
    with pytest.raises(ValueError, match="more often"):
        pool.release(blocks)


def test_a_released_named_block_is_found_until_it_is_evicted() -> None:
    pool = BlockPool(3)
    blocks = pool.take(2)
    pool.publish(blocks[0], name(1))
    pool.publish(blocks[1], name(2))
    pool.release(blocks)
    assert pool.find([name(1), name(2), name(3)], 9) == blocks
    assert pool.find([name(1), name(2)], 1) == blocks[:1]
    # The free block first, then the end of the prefix, then its start.
    assert pool.take(1)[0] not in blocks
    assert pool.take(1) == [blocks[1]]
    assert pool.find([name(1), name(2)], 9) == blocks[:1]
    assert pool.take(1) == [blocks[0]]
    assert pool.find([name(1)], 9) == []
    pool.check_integrity()


def test_eviction_takes_the_block_that_was_let_go_longest_ago() -> None:
    pool = BlockPool(2)
    first, second = pool.take(2)
    pool.publish(first, name(1))
    pool.publish(second, name(2))
    pool.release([first])
    pool.release([second])
    pool.share([first])
    pool.release([first])
    assert pool.take(1) == [second]


def test_a_second_copy_of_the_same_contents_stays_unnamed() -> None:
    pool = BlockPool(2)
    blocks = pool.take(2)
    for block in blocks:
        pool.publish(block, name(7))
    pool.release(blocks)
    assert pool.find([name(7)], 1) == [blocks[0]]
    pool.check_integrity()


def test_forgetting_frees_what_was_only_cached() -> None:
    pool = BlockPool(3)
    kept, left = pool.take(2)
    pool.publish(kept, name(1))
    pool.publish(left, name(2))
    pool.release([left])
    pool.forget_all()
    pool.check_integrity()
    assert pool.find([name(1)], 1) == pool.find([name(2)], 1) == []
    assert (pool.used, pool.available) == (1, 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_mix_of_calls_keeps_the_books(seed: int) -> None:
    chance = random.Random(seed)
    pool = BlockPool(12)
    held: list[list[int]] = []
    for _ in range(120):
        action = chance.randrange(5)
        if action == 0 and pool.available:
            held.append(pool.take(chance.randint(1, pool.available)))
        elif action == 1 and held:
            pool.release(held.pop(chance.randrange(len(held))))
        elif action == 2 and held:
            block = chance.choice(chance.choice(held))
            pool.publish(block, name(chance.randrange(20)))
        elif action == 3:
            found = pool.find([name(chance.randrange(20))], 1)
            if found:
                pool.share(found)
                held.append(found)
        elif action == 4 and chance.random() < 0.05:
            pool.forget_all()
        pool.check_integrity()
        assert pool.used == len({block for blocks in held for block in blocks})
        for block in {block for blocks in held for block in blocks}:
            holders = sum(blocks.count(block) for blocks in held)
            assert pool.is_shared(block) == (holders > 1)
    for blocks in held:
        pool.release(blocks)
    assert pool.used == 0
    pool.check_integrity()
