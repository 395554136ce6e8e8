"""Stored prompts: versions that never change, labels that move between them, and what was used.

Decides which version a name means. Does not ask a model; `responses` does, with what is found here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tokenyard.chat.records import PromptReference
from tokenyard.chat.rules.prompts import (
    DiffLine,
    PromptContent,
    Value,
    WrongVariable,
    complete_variables,
    diff,
    fill,
    spell_values,
)
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, LimitReached, NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix, ProjectId, PromptId, UserId
from tokenyard.vocabulary.reasons import Reason

PRODUCTION = "production"
_LABEL = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A stored prompt of a project, without what its versions say."""

    id: PromptId
    project: ProjectId
    name: str
    created_at: float
    updated_at: float
    # The number of its newest version; versions are numbered from 1.
    newest: int
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One version; all but the count of its uses never changes."""

    number: int
    content: PromptContent
    created_at: float
    user: UserId
    note: str = ""
    uses: int = 0
    last_used_at: float | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt that is ready to be asked."""

    reference: PromptReference
    content: PromptContent


class PromptStore(Protocol):
    """Durable prompts. A call that returns has been committed."""

    async def add_prompt(self, prompt: Prompt, first: PromptVersion, *, prompts_max: int) -> bool:
        """Store a new prompt; False when the project has as many as it may, or the id is taken."""
        ...

    async def find_prompt(self, prompt: PromptId, project: ProjectId) -> Prompt | None:
        """None when there is none, or when it belongs to another project."""
        ...

    async def list_prompts(
        self, project: ProjectId, *, limit: int, after: PromptId | None
    ) -> list[Prompt]:
        """By their ids' order of creation, newest first."""
        ...

    async def add_version(
        self, prompt: PromptId, project: ProjectId, version: PromptVersion
    ) -> bool:
        """Store the version after the newest; False when that is no longer the number before."""
        ...

    async def find_version(self, prompt: PromptId, number: int) -> PromptVersion | None:
        """One version."""
        ...

    async def list_versions(
        self, prompt: PromptId, *, limit: int, before: int | None
    ) -> list[PromptVersion]:
        """Newest first; `before` is the last number of the page before."""
        ...

    async def set_label(
        self, prompt: PromptId, project: ProjectId, label: str, number: int | None, at: float
    ) -> bool:
        """Move a label to a version, or take it away; False when the prompt is not there."""
        ...

    async def rename_prompt(
        self, prompt: PromptId, project: ProjectId, name: str, at: float
    ) -> bool:
        """Give it another name; False when there is none."""
        ...

    async def count_use(self, prompt: PromptId, number: int, at: float) -> None:
        """Count one use of a version; quiet when it is gone."""
        ...

    async def delete_prompt(self, prompt: PromptId, project: ProjectId) -> bool:
        """Remove it with its versions and labels; False when there is none."""
        ...


class Prompts:
    """The prompts of all projects; one of another project does not exist for a caller."""

    def __init__(
        self, store: PromptStore, settings: ChatSettings, clock: Clock, randomness: Randomness
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._randomness = randomness

    async def create(
        self,
        caller: Principal,
        name: str,
        content: PromptContent,
        *,
        note: str = "",
        id: str | None = None,
    ) -> Prompt:
        """A new prompt with its first version; raises InvalidRequest, LimitReached and Conflict.

        id: of a prompt that comes from elsewhere and keeps its name.
        """
        now = self._clock.now()
        first = self._version(caller, 1, content, note)
        made = Prompt(
            id=PromptId(id or mint(IdPrefix.PROMPT, self._randomness)),
            project=caller.project,
            name=name,
            created_at=now,
            updated_at=now,
            newest=1,
        )
        most = self._settings.prompts_max
        if not await self._store.add_prompt(made, first, prompts_max=most):
            if id is not None and await self._store.find_prompt(made.id, caller.project):
                raise Conflict(
                    f"There is a prompt '{id}' already.", reason=Reason.PROMPT_EXISTS, param="id"
                )
            raise LimitReached(
                f"A project holds at most {most} prompts. Delete some first.",
                reason=Reason.PROMPTS_LIMIT,
            )
        return made

    async def get(self, caller: Principal, id: PromptId) -> Prompt:
        """The prompt; raises NotFound."""
        found = await self._store.find_prompt(id, caller.project)
        if found is None:
            raise _no_prompt(id)
        return found

    async def page(
        self, caller: Principal, *, limit: int, after: PromptId | None
    ) -> tuple[list[Prompt], bool]:
        """Prompts of the caller's project, newest first, and whether there are more."""
        found = await self._store.list_prompts(caller.project, limit=limit + 1, after=after)
        return found[:limit], len(found) > limit

    async def add_version(
        self, caller: Principal, id: PromptId, content: PromptContent, *, note: str = ""
    ) -> PromptVersion:
        """The next version; raises NotFound, InvalidRequest, LimitReached and Conflict."""
        prompt = await self.get(caller, id)
        if prompt.newest >= self._settings.prompt_versions_max:
            raise LimitReached(
                f"A prompt holds at most {self._settings.prompt_versions_max} versions.",
                reason=Reason.PROMPTS_LIMIT,
            )
        version = self._version(caller, prompt.newest + 1, content, note)
        if not await self._store.add_version(id, caller.project, version):
            raise Conflict(
                "Somebody else has saved a version meanwhile. Look at it and save again.",
                reason=Reason.PROMPT_CHANGED,
            )
        return version

    async def restore(self, caller: Principal, id: PromptId, number: int) -> PromptVersion:
        """An older version again, as the newest one; raises like `add_version`."""
        _, old = await self.version(caller, id, str(number))
        return await self.add_version(caller, id, old.content, note=f"Version {number} again.")

    async def version(
        self, caller: Principal, id: PromptId, name: str | None
    ) -> tuple[Prompt, PromptVersion]:
        """The version that a number or a label means; raises NotFound.

        Without a name it is the one in production, or the newest when none is.
        """
        prompt = await self.get(caller, id)
        if name is None:
            number = prompt.labels.get(PRODUCTION, prompt.newest)
        elif name.isascii() and name.isdigit() and len(name) < 10:
            number = int(name)
        else:
            number = prompt.labels.get(name, 0)
        found = await self._store.find_version(id, number) if number else None
        if found is None:
            raise NotFound(f"The prompt '{id}' has no version '{name}'.", param="version")
        return prompt, found

    async def versions(
        self, caller: Principal, id: PromptId, *, limit: int, before: int | None
    ) -> tuple[list[PromptVersion], bool]:
        """Versions, newest first, and whether there are more; raises NotFound."""
        await self.get(caller, id)
        found = await self._store.list_versions(id, limit=limit + 1, before=before)
        return found[:limit], len(found) > limit

    async def set_label(
        self, caller: Principal, id: PromptId, label: str, number: int | None
    ) -> Prompt:
        """Put a label on a version, or take it away; raises NotFound and InvalidRequest."""
        if not _LABEL.fullmatch(label):
            raise InvalidRequest(
                "A label begins with a letter and has only a-z, 0-9, '_', '.' and '-'.",
                param="label",
            )
        prompt = await self.get(caller, id)
        if number is not None:
            await self.version(caller, id, str(number))
            if (
                label not in prompt.labels
                and len(prompt.labels) >= self._settings.prompt_labels_max
            ):
                raise LimitReached(
                    f"A prompt has at most {self._settings.prompt_labels_max} labels.",
                    reason=Reason.PROMPTS_LIMIT,
                )
        await self._store.set_label(id, caller.project, label, number, self._clock.now())
        return await self.get(caller, id)

    async def rename(self, caller: Principal, id: PromptId, name: str) -> Prompt:
        """Give it another name; raises NotFound."""
        if not await self._store.rename_prompt(id, caller.project, name, self._clock.now()):
            raise _no_prompt(id)
        return await self.get(caller, id)

    async def delete(self, caller: Principal, id: PromptId) -> None:
        """Delete it with all its versions; raises NotFound."""
        if not await self._store.delete_prompt(id, caller.project):
            raise _no_prompt(id)

    async def compare(self, caller: Principal, id: PromptId, old: str, new: str) -> list[DiffLine]:
        """What changed between two versions; raises NotFound."""
        _, before = await self.version(caller, id, old)
        _, after = await self.version(caller, id, new)
        return diff(before.content, after.content)

    async def fill(
        self, caller: Principal, id: PromptId, version: str | None, values: Mapping[str, Value]
    ) -> Filled:
        """The prompt with its variables filled; raises NotFound and InvalidRequest."""
        _, found = await self.version(caller, id, version)
        try:
            content = fill(found.content, values)
            spelled = spell_values(found.content.variables, values)
        except WrongVariable as error:
            raise InvalidRequest(
                str(error), reason=Reason.PROMPT_VARIABLE, param=f"prompt.variables.{error.name}"
            ) from None
        return Filled(PromptReference(id, found.number, spelled), content)

    async def count_use(self, used: PromptReference) -> None:
        """A response was asked with it."""
        await self._store.count_use(PromptId(used.id), used.version, self._clock.now())

    def _version(
        self, caller: Principal, number: int, content: PromptContent, note: str
    ) -> PromptVersion:
        try:
            whole = complete_variables(content)
        except WrongVariable as error:
            raise InvalidRequest(
                str(error), reason=Reason.PROMPT_VARIABLE, param=f"variables.{error.name}"
            ) from None
        return PromptVersion(
            number=number,
            content=whole,
            created_at=self._clock.now(),
            user=caller.user,
            note=note,
        )


def with_label(prompt: Prompt, label: str, number: int | None, at: float) -> Prompt:
    """The prompt with a label moved or taken away."""
    labels = {name: held for name, held in prompt.labels.items() if name != label}
    if number is not None:
        labels[label] = number
    return replace(prompt, labels=labels, updated_at=at)


def _no_prompt(id: str) -> NotFound:
    return NotFound(f"There is no prompt '{id}'.", param="prompt.id")
