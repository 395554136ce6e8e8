"""Guesses: where they come from, and that a batch with them writes the same texts as without."""

import random
from collections.abc import Sequence as Tokens

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.rules.batching import Batch, BatchLimits, Sequence, SequenceState
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.rules.speculation import NGRAM_TOKENS, DraftBook

BLOCK = 4


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 5), st.data())
def test_a_guess_is_what_followed_the_same_run_last(
    tokens: list[int], count: int, data: st.DataObject
) -> None:
    book = DraftBook()
    # The text grows by any steps before the last question.
    for end in sorted(data.draw(st.lists(st.integers(0, len(tokens)), max_size=5))):
        book.propose(tokens[:end], 1)
    run = tokens[-NGRAM_TOKENS:]
    places = [
        place
        for place in range(NGRAM_TOKENS, len(tokens))
        if len(run) == NGRAM_TOKENS and tokens[place - NGRAM_TOKENS : place] == run
    ]
    expected = tuple(tokens[places[-1] : places[-1] + count]) if places else ()
    assert book.propose(tokens, count) == expected


def following(tokens: Tokens[int], number: int) -> int:
    """A model that mostly repeats itself, and sometimes does not."""
    return hash((number, tuple(tokens[-3:]))) % 3 if len(tokens) % 7 else len(tokens) % 2


def write(
    prompts: list[list[int]], wanted: int, *, drafts: int, step: int, blocks: int, rows: int
) -> tuple[list[list[int]], int]:
    """Texts by a batch over a model that computes what the plan says, and the number of steps."""
    limits = BatchLimits(step, 4, BLOCK, step, draft_tokens_max=drafts, draft_rows_max=rows)
    batch = Batch(BlockPool(blocks), limits)
    texts = [
        Sequence(number, list(prompt), full_count=len(prompt) + wanted, book=DraftBook())
        for number, prompt in enumerate(prompts)
    ]
    for text in texts:
        batch.add(text)
    slots: dict[tuple[int, int], tuple[int, ...]] = {}
    steps = 0
    while batch.running or batch.waiting:
        steps += 1
        plan = batch.plan_step()
        assert plan.token_count <= step
        drawn: dict[int, int] = {}
        more: dict[int, list[int]] = {}
        for chunk in plan.chunks:
            text = chunk.sequence
            past = [*text.tokens[: chunk.start], *chunk.tokens]
            for place in range(chunk.start, chunk.start + chunk.count):
                key = (text.blocks[place // BLOCK], place % BLOCK)
                slots[key] = tuple(past[: place + 1])
            if not chunk.draws:
                continue
            for place in range(chunk.known_end):
                key = (text.blocks[place // BLOCK], place % BLOCK)
                assert slots[key] == tuple(text.tokens[: place + 1])
            drawn[text.id] = following(text.tokens, text.id)
            more[text.id] = []
            known = [*text.tokens, drawn[text.id]]
            for draft in chunk.drafts:
                if draft != known[-1]:
                    break
                more[text.id].append(following(known, text.id))
                known.append(more[text.id][-1])
        batch.advance(plan)
        batch.learn(plan, drawn, more)
        batch.pool.check_integrity()
        for text in texts:
            assert text.full_count is not None
            assert len(text.tokens) <= text.full_count
            if len(text.tokens) == text.full_count and text.state is not SequenceState.ENDED:
                batch.end(text)
    assert batch.pool.used == 0
    return [text.tokens for text in texts], steps


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    drafts=st.integers(1, 5),
    step=st.sampled_from([1, 3, 16]),
    blocks=st.integers(12, 40),
    rows=st.integers(1, 9),
)
def test_texts_are_the_same_with_and_without(
    seed: int, drafts: int, step: int, blocks: int, rows: int
) -> None:
    chance = random.Random(seed)
    prompts = [[chance.randrange(3) for _ in range(chance.randint(1, 20))] for _ in range(3)]
    wanted = chance.randint(1, 25)
    how = {"step": step, "blocks": blocks, "rows": rows}
    assert (
        write(prompts, wanted, drafts=drafts, **how)[0]
        == write(prompts, wanted, drafts=0, **how)[0]
    )


@pytest.mark.parametrize("rows", [1, 8])
def test_right_guesses_save_steps_when_few_are_running(rows: int) -> None:
    prompt = [0, 1, 2] * 6
    plain = write([prompt], 40, drafts=0, step=16, blocks=40, rows=rows)[1]
    guessed = write([prompt], 40, drafts=3, step=16, blocks=40, rows=rows)[1]
    assert (guessed < plain) == (rows > 1)


@pytest.mark.parametrize(("blocks", "drafts"), [(8, (1, 2, 0)), (5, ()), (4, ())])
def test_guesses_go_on_in_a_block_that_nobody_else_may_need(
    blocks: int, drafts: tuple[int, ...]
) -> None:
    limits = BatchLimits(16, 4, BLOCK, 16, draft_tokens_max=3)
    batch = Batch(BlockPool(blocks), limits)
    # With the next token, its four blocks are full.
    text = Sequence(0, [0, 1, 2] * 5, full_count=40, book=DraftBook())
    batch.add(text)
    batch.settle(batch.plan_step(), {0: 0})
    (chunk,) = batch.plan_step().chunks
    assert (chunk.start, chunk.drafts) == (15, drafts)
    assert len(text.blocks) == 4 + bool(drafts)
    batch.end(text)
    batch.pool.check_integrity()
    assert batch.pool.used == 0
