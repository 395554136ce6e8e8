"""The contract of `chat.prompts.PromptStore`, over every store that keeps it."""

import asyncio
from dataclasses import replace

import pytest

from contract.conftest import Store
from contract.samples import AT, ME, MINE, STRANGE_TEXT, THEIRS
from tokenyard.chat.prompts import Prompt, PromptVersion
from tokenyard.chat.rules.prompts import PromptContent, Variable, VariableKind
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import PromptId
from tokenyard.vocabulary.messages import Message, Role

CONTENT = PromptContent(
    instructions=STRANGE_TEXT,
    messages=(Message(Role.USER, "{{a}}"),),
    variables=(Variable("a", VariableKind.CHOICE, "x", "which", ("x", "y")),),
    model="tiny",
    temperature=0.1 + 0.2,
    max_output_tokens=9,
)
FIRST = PromptVersion(1, CONTENT, AT, ME, note=STRANGE_TEXT)


def prompt(number: int = 1) -> Prompt:
    return Prompt(PromptId(f"pmpt_{number:03}"), MINE, STRANGE_TEXT, AT, AT, 1)


async def test_a_prompt_comes_back_as_it_went_in(store: Store) -> None:
    held = prompt()
    assert await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    assert not await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    assert await store.prompts.find_prompt(held.id, MINE) == held
    assert await store.prompts.find_prompt(held.id, THEIRS) is None
    assert await store.prompts.find_version(held.id, 1) == FIRST
    assert await store.prompts.find_version(held.id, 2) is None


async def test_versions_are_numbered_without_a_gap_whoever_saves(store: Store) -> None:
    held = prompt()
    await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    second = replace(FIRST, number=2, created_at=AT + 1)
    saved = await asyncio.gather(
        *(store.prompts.add_version(held.id, MINE, second) for _ in range(5))
    )
    assert saved.count(True) == 1
    assert not await store.prompts.add_version(held.id, THEIRS, replace(second, number=3))
    assert not await store.prompts.add_version(held.id, MINE, replace(second, number=4))
    newest = await store.prompts.list_versions(held.id, limit=9, before=None)
    assert newest == [second, FIRST]
    assert await store.prompts.list_versions(held.id, limit=9, before=2) == [FIRST]
    assert await store.prompts.list_versions(held.id, limit=1, before=None) == [second]
    changed = await store.prompts.find_prompt(held.id, MINE)
    assert changed == replace(held, newest=2, updated_at=AT + 1)


async def test_labels_move_and_go(store: Store) -> None:
    held = prompt()
    await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    assert await store.prompts.set_label(held.id, MINE, "production", 1, AT + 1)
    assert await store.prompts.set_label(held.id, MINE, "staging", 1, AT + 1)
    assert await store.prompts.set_label(held.id, MINE, "production", 2, AT + 2)
    assert not await store.prompts.set_label(held.id, THEIRS, "production", 1, AT)
    found = await store.prompts.find_prompt(held.id, MINE)
    assert found == replace(held, labels={"production": 2, "staging": 1}, updated_at=AT + 2)
    assert await store.prompts.set_label(held.id, MINE, "staging", None, AT + 3)
    found = await store.prompts.find_prompt(held.id, MINE)
    assert found is not None
    assert dict(found.labels) == {"production": 2}


async def test_uses_are_counted(store: Store) -> None:
    held = prompt()
    await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    await asyncio.gather(*(store.prompts.count_use(held.id, 1, AT + 5) for _ in range(20)))
    await store.prompts.count_use(PromptId("pmpt_none"), 1, AT)
    found = await store.prompts.find_version(held.id, 1)
    assert found == replace(FIRST, uses=20, last_used_at=AT + 5)


async def test_a_project_has_only_so_many_and_lists_them_in_pages(store: Store) -> None:
    for number in range(5):
        assert await store.prompts.add_prompt(prompt(number), FIRST, prompts_max=5)
    assert not await store.prompts.add_prompt(prompt(9), FIRST, prompts_max=5)
    paged: list[str] = []
    after: PromptId | None = None
    while page := await store.prompts.list_prompts(MINE, limit=2, after=after):
        paged += [one.id for one in page]
        after = page[-1].id
    assert paged == [f"pmpt_{number:03}" for number in reversed(range(5))]
    assert await store.prompts.list_prompts(THEIRS, limit=9, after=None) == []
    with pytest.raises(InvalidRequest):
        await store.prompts.list_prompts(THEIRS, limit=9, after=PromptId("pmpt_001"))


async def test_a_deleted_prompt_leaves_nothing(store: Store) -> None:
    held = prompt()
    await store.prompts.add_prompt(held, FIRST, prompts_max=5)
    assert not await store.prompts.delete_prompt(held.id, THEIRS)
    assert await store.prompts.rename_prompt(held.id, MINE, "New", AT + 1)
    assert await store.prompts.find_prompt(held.id, MINE) == replace(
        held, name="New", updated_at=AT + 1
    )
    assert await store.prompts.delete_prompt(held.id, MINE)
    assert not await store.prompts.delete_prompt(held.id, MINE)
    assert not await store.prompts.rename_prompt(held.id, MINE, "New", AT)
    assert await store.prompts.find_version(held.id, 1) is None
    assert await store.prompts.add_prompt(held, FIRST, prompts_max=5)
