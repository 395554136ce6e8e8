"""Keeps `chat.prompts.PromptStore` in SQL. A prompt's labels are one column of its row."""

from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Integer,
    Row,
    String,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from tokenyard.chat.prompts import Prompt, PromptVersion, with_label
from tokenyard.chat.rules.prompts import PromptContent
from tokenyard.storage.refusals import unknown_cursor
from tokenyard.storage.sql.chat_tables import prompt_versions, prompts
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ProjectId, PromptId, UserId

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_AFTER = bindparam("b_after", type_=String)
_LIMIT = bindparam("b_limit", type_=Integer)
_NUMBER = bindparam("b_number", type_=Integer)
_BEFORE = bindparam("b_before", type_=Integer)
_MINE = (prompts.c.id == _ID, prompts.c.project_id == _PROJECT)

_ADD = insert_or_ignore(prompts, prompts.c.id)
_COUNT = select(func.count()).select_from(prompts).where(prompts.c.project_id == _PROJECT)
_FIND = select(prompts).where(*_MINE)
_CHANGE = update(prompts).where(*_MINE)
_ADVANCE = update(prompts).where(*_MINE, prompts.c.newest == _NUMBER)
_DELETE = delete(prompts).where(*_MINE)
_LIST = (
    select(prompts)
    .where(prompts.c.project_id == _PROJECT)
    .order_by(prompts.c.created_at.desc(), prompts.c.id.desc())
    .limit(_LIMIT)
)
_CURSOR = select(prompts.c.created_at).where(
    prompts.c.id == _AFTER, prompts.c.project_id == _PROJECT
)
_LIST_AFTER = _LIST.where(
    tuple_(prompts.c.created_at, prompts.c.id) < tuple_(_CURSOR.scalar_subquery(), _AFTER)
)
_ADD_VERSION = insert(prompt_versions)
_OF = prompt_versions.c.prompt_id == _ID
_FIND_VERSION = select(prompt_versions).where(_OF, prompt_versions.c.number == _NUMBER)
_LIST_VERSIONS = (
    select(prompt_versions)
    .where(_OF, or_(_BEFORE == 0, prompt_versions.c.number < _BEFORE))
    .order_by(prompt_versions.c.number.desc())
    .limit(_LIMIT)
)
_USE = (
    update(prompt_versions)
    .where(_OF, prompt_versions.c.number == _NUMBER)
    .values(uses=prompt_versions.c.uses + 1)
)


class SqlPromptStore:
    """Prompts and their versions."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_prompt(self, prompt: Prompt, first: PromptVersion, *, prompts_max: int) -> bool:
        """Store a new prompt; False when the project has as many as it may, or the id is taken."""
        row = {
            "id": prompt.id,
            "project_id": prompt.project,
            "name": prompt.name,
            "created_at": prompt.created_at,
            "updated_at": prompt.updated_at,
            "newest": prompt.newest,
            "labels": dict(prompt.labels),
        }
        version = _write_version(prompt.id, first)

        def change(connection: Connection) -> bool:
            held = connection.execute(_COUNT, {"b_project": prompt.project}).scalar_one()
            if held >= prompts_max or connection.execute(_ADD, row).rowcount == 0:
                return False
            connection.execute(_ADD_VERSION, version)
            return True

        return await self._writer.write(change)

    async def find_prompt(self, prompt: PromptId, project: ProjectId) -> Prompt | None:
        """None when there is none, or when it belongs to another project."""
        row = await self._readers.first(_FIND, b_id=prompt, b_project=project)
        return None if row is None else _read_prompt(row)

    async def list_prompts(
        self, project: ProjectId, *, limit: int, after: PromptId | None
    ) -> list[Prompt]:
        """Newest first; of equal times the greater id first."""
        values = {"b_project": project, "b_limit": limit, "b_after": after}
        if after is None:
            found = await self._readers.all(_LIST, **values)
        else:
            if await self._readers.first(_CURSOR, **values) is None:
                raise unknown_cursor()
            found = await self._readers.all(_LIST_AFTER, **values)
        return [_read_prompt(row) for row in found]

    async def add_version(
        self, prompt: PromptId, project: ProjectId, version: PromptVersion
    ) -> bool:
        """Store the version after the newest; False when that is no longer the number before."""
        row = _write_version(prompt, version)
        mine = {"b_id": prompt, "b_project": project, "b_number": version.number - 1}
        new = {"newest": version.number, "updated_at": version.created_at}

        def change(connection: Connection) -> bool:
            if connection.execute(_ADVANCE, {**mine, **new}).rowcount == 0:
                return False
            connection.execute(_ADD_VERSION, row)
            return True

        return await self._writer.write(change)

    async def find_version(self, prompt: PromptId, number: int) -> PromptVersion | None:
        """One version."""
        row = await self._readers.first(_FIND_VERSION, b_id=prompt, b_number=number)
        return None if row is None else _read_version(row)

    async def list_versions(
        self, prompt: PromptId, *, limit: int, before: int | None
    ) -> list[PromptVersion]:
        """Newest first; `before` is the last number of the page before."""
        found = await self._readers.all(
            _LIST_VERSIONS, b_id=prompt, b_limit=limit, b_before=before or 0
        )
        return [_read_version(row) for row in found]

    async def set_label(
        self, prompt: PromptId, project: ProjectId, label: str, number: int | None, at: float
    ) -> bool:
        """Move a label to a version, or take it away; False when the prompt is not there."""
        mine = {"b_id": prompt, "b_project": project}

        def change(connection: Connection) -> bool:
            row = connection.execute(_FIND.with_for_update(), mine).first()
            if row is None:
                return False
            changed = with_label(_read_prompt(row), label, number, at)
            new = {"labels": dict(changed.labels), "updated_at": at}
            connection.execute(_CHANGE, {**mine, **new})
            return True

        return await self._writer.write(change)

    async def rename_prompt(
        self, prompt: PromptId, project: ProjectId, name: str, at: float
    ) -> bool:
        """Give it another name; False when there is none."""
        change = run(_CHANGE, b_id=prompt, b_project=project, name=name, updated_at=at)
        return await self._writer.write(change) == 1

    async def count_use(self, prompt: PromptId, number: int, at: float) -> None:
        """Count one use of a version; quiet when it is gone."""
        await self._writer.write(run(_USE, b_id=prompt, b_number=number, last_used_at=at))

    async def delete_prompt(self, prompt: PromptId, project: ProjectId) -> bool:
        """Remove it with its versions and labels; False when there is none."""
        return await self._writer.write(run(_DELETE, b_id=prompt, b_project=project)) == 1


def _read_prompt(row: Row[Any]) -> Prompt:
    return Prompt(
        id=PromptId(row.id),
        project=ProjectId(row.project_id),
        name=row.name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        newest=row.newest,
        labels=row.labels,
    )


def _write_version(prompt: PromptId, version: PromptVersion) -> dict[str, Any]:
    return {
        "prompt_id": prompt,
        "number": version.number,
        "content": msgspec.to_builtins(version.content),
        "created_at": version.created_at,
        "user_id": version.user,
        "note": version.note,
        "uses": version.uses,
        "last_used_at": version.last_used_at,
    }


def _read_version(row: Row[Any]) -> PromptVersion:
    return PromptVersion(
        number=row.number,
        content=msgspec.convert(row.content, PromptContent),
        created_at=row.created_at,
        user=UserId(row.user_id),
        note=row.note,
        uses=row.uses,
        last_used_at=row.last_used_at,
    )
