"""Keeps `chat.prompts.PromptStore` in memory."""

from dataclasses import replace

from tokenyard.chat.prompts import Prompt, PromptVersion, with_label
from tokenyard.storage.refusals import unknown_cursor
from tokenyard.vocabulary.ids import ProjectId, PromptId


class MemoryPromptStore:
    """Prompts and their versions."""

    def __init__(self) -> None:
        self._prompts: dict[PromptId, Prompt] = {}
        self._versions: dict[PromptId, list[PromptVersion]] = {}

    async def add_prompt(self, prompt: Prompt, first: PromptVersion, *, prompts_max: int) -> bool:
        """Store a new prompt; False when the project has as many as it may, or the id is taken."""
        held = [one for one in self._prompts.values() if one.project == prompt.project]
        if prompt.id in self._prompts or len(held) >= prompts_max:
            return False
        self._prompts[prompt.id] = prompt
        self._versions[prompt.id] = [first]
        return True

    async def find_prompt(self, prompt: PromptId, project: ProjectId) -> Prompt | None:
        """None when there is none, or when it belongs to another project."""
        held = self._prompts.get(prompt)
        return held if held is not None and held.project == project else None

    async def list_prompts(
        self, project: ProjectId, *, limit: int, after: PromptId | None
    ) -> list[Prompt]:
        """Newest first; of equal times the greater id first."""
        mine = [held for held in self._prompts.values() if held.project == project]
        mine.sort(key=lambda held: (held.created_at, held.id), reverse=True)
        if after is None:
            return mine[:limit]
        places = [place for place, held in enumerate(mine) if held.id == after]
        if not places:
            raise unknown_cursor()
        return mine[places[0] + 1 :][:limit]

    async def add_version(
        self, prompt: PromptId, project: ProjectId, version: PromptVersion
    ) -> bool:
        """Store the version after the newest; False when that is no longer the number before."""
        held = await self.find_prompt(prompt, project)
        if held is None or held.newest != version.number - 1:
            return False
        self._versions[prompt].append(version)
        self._prompts[prompt] = replace(held, newest=version.number, updated_at=version.created_at)
        return True

    async def find_version(self, prompt: PromptId, number: int) -> PromptVersion | None:
        """One version."""
        held = self._versions.get(prompt, [])
        return next((one for one in held if one.number == number), None)

    async def list_versions(
        self, prompt: PromptId, *, limit: int, before: int | None
    ) -> list[PromptVersion]:
        """Newest first; `before` is the last number of the page before."""
        held = reversed(self._versions.get(prompt, []))
        return [one for one in held if before is None or one.number < before][:limit]

    async def set_label(
        self, prompt: PromptId, project: ProjectId, label: str, number: int | None, at: float
    ) -> bool:
        """Move a label to a version, or take it away; False when the prompt is not there."""
        held = await self.find_prompt(prompt, project)
        if held is None:
            return False
        self._prompts[prompt] = with_label(held, label, number, at)
        return True

    async def rename_prompt(
        self, prompt: PromptId, project: ProjectId, name: str, at: float
    ) -> bool:
        """Give it another name; False when there is none."""
        held = await self.find_prompt(prompt, project)
        if held is None:
            return False
        self._prompts[prompt] = replace(held, name=name, updated_at=at)
        return True

    async def count_use(self, prompt: PromptId, number: int, at: float) -> None:
        """Count one use of a version; quiet when it is gone."""
        self._versions[prompt] = [
            replace(one, uses=one.uses + 1, last_used_at=at) if one.number == number else one
            for one in self._versions.get(prompt, [])
        ]

    async def delete_prompt(self, prompt: PromptId, project: ProjectId) -> bool:
        """Remove it with its versions and labels; False when there is none."""
        if await self.find_prompt(prompt, project) is None:
            return False
        del self._prompts[prompt], self._versions[prompt]
        return True
