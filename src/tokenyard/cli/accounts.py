"""`tokenyard keys`, `people`, `projects` and `audit`: they work beside a running server.

Whoever may write the data folder may do all of it; the audit log tells the first owner's name.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tokenyard.assembly import open_people
from tokenyard.gateway.invitations import read_email
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.reception import Reception
from tokenyard.gateway.server import run
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import open_log
from tokenyard.vocabulary.audit import GENESIS, AuditFilter, find_break
from tokenyard.vocabulary.errors import InternalFailure, NotFound
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, DEFAULT_PROJECT, DEFAULT_USER, Role
from tokenyard.vocabulary.ids import KeyId, OrganisationId, ProjectId, UserId

T = TypeVar("T")
_SHOWN_MAX = 10_000
_ENTRIES_AT_ONCE = 1_000
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Files:
    """The people of one data folder."""

    settings: Settings
    home: Path

    def create_key(
        self,
        name: str,
        project: str,
        *,
        scopes: Sequence[str] = (),
        models: Sequence[str] = (),
        days: float | None = None,
    ) -> str:
        """The secret of a new key."""
        until = None if days is None else RealClock().now() + days * _DAY_SECONDS
        terms = KeyTerms(name, scopes or None, models or None, None, until)

        async def create(reception: Reception) -> str:
            there = await self._project(reception, project)
            secret, _ = await reception.identity.keys.create(command_line(there), terms)
            return secret

        return self._do(create)

    def list_keys(self, project: str, *, as_json: bool) -> str:
        """All keys of a project as a table, or as JSON."""
        keys = self._do(lambda reception: reception.identity.keys.list(ProjectId(project)))
        if as_json:
            shown = ("id", "name", "hint", "created_at", "revoked_at", "expires_at", "scopes")
            return _spell([{name: getattr(key, name) for name in shown} for key in keys])
        if not keys:
            return "No keys yet. Make one: tokenyard keys create --name NAME"
        lines = [f"{'id':28} {'name':28} {'key':13} {'made (UTC)':16} state"]
        for key in keys:
            state = "active" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"
            if key.revoked_at is None and key.expires_at is not None:
                state = f"until {_day(key.expires_at)}"
            made = _day(key.created_at)
            lines.append(f"{key.id:28} {key.name[:28]:28} {key.hint:13} {made:16} {state}")
        return "\n".join(lines)

    def rotate_key(self, key_id: str, project: str, overlap_seconds: float) -> str:
        """The new secret; raises NotFound."""
        by = command_line(ProjectId(project))

        async def rotate(reception: Reception) -> str:
            secret, _ = await reception.identity.keys.rotate(by, KeyId(key_id), overlap_seconds)
            return secret

        return self._do(rotate)

    def revoke_key(self, key_id: str, project: str) -> None:
        """Revoke; raises NotFound."""
        by = command_line(ProjectId(project))
        self._do(lambda reception: reception.identity.keys.revoke(by, KeyId(key_id)))

    def make_sign_in_link(self, url: str | None, email: str | None) -> str:
        """A new one-time link; raises NotFound for an address that nobody has."""

        async def make(reception: Reception) -> str:
            user = DEFAULT_USER
            if email is not None:
                found = await reception.people.store.find_user_by_email(read_email(email))
                if found is None:
                    raise NotFound(f"Nobody here has the address '{email}'.", param="email")
                user = found.id
            return await reception.identity.sessions.create_link_token(user)

        return f"{self._root(url)}/sign-in?token={self._do(make)}"

    def list_people(self, *, as_json: bool) -> str:
        """The people of the first organisation as a table, or as JSON."""
        found = self._do(
            lambda reception: reception.people.store.list_users(
                DEFAULT_ORGANISATION, limit=_SHOWN_MAX, after=None
            )
        )
        if as_json:
            shown = ("id", "name", "email", "role", "operator", "created_at")
            return _spell([{name: getattr(user, name) for name in shown} for user in found])
        lines = [f"{'id':30} {'email':32} {'role':10} name"]
        for user in found:
            role = f"{user.role}{'+' if user.operator else ''}"
            lines.append(f"{user.id:30} {user.email or '-':32} {role:10} {user.name}")
        return "\n".join(lines)

    def invite(
        self,
        email: str,
        *,
        role: str,
        project: str,
        project_role: str,
        operator: bool,
        url: str | None,
    ) -> str:
        """The link of a new invitation."""

        async def make(reception: Reception) -> str:
            token, _ = await reception.invitations.create(
                command_line(DEFAULT_PROJECT),
                email,
                Role(role),
                operator=operator,
                project=ProjectId(project),
                project_role=Role(project_role),
            )
            return token

        return f"{self._root(url)}/#invitation={self._do(make)}"

    def remove_person(self, user_id: str) -> None:
        """Raises NotFound, or Conflict for the last owner."""
        by = command_line(DEFAULT_PROJECT)
        self._do(lambda reception: reception.people.remove_user(by, UserId(user_id)))

    def list_projects(self, *, as_json: bool) -> str:
        """The projects of the first organisation as a table, or as JSON."""
        found = self._do(
            lambda reception: reception.people.store.list_projects(
                DEFAULT_ORGANISATION, archived=True, limit=_SHOWN_MAX, after=None
            )
        )
        if as_json:
            shown = ("id", "name", "created_at", "archived_at")
            return _spell([{name: getattr(one, name) for name in shown} for one in found])
        lines = [f"{'id':30} {'state':10} name"]
        for one in found:
            state = "open" if one.archived_at is None else "archived"
            lines.append(f"{one.id:30} {state:10} {one.name}")
        return "\n".join(lines)

    def create_project(self, name: str) -> str:
        """The id of a new project."""
        by = command_line(DEFAULT_PROJECT)
        return self._do(lambda reception: reception.people.create_project(by, name)).id

    def archive_project(self, project_id: str) -> None:
        """Raises NotFound."""

        async def archive(reception: Reception) -> None:
            there = await self._project(reception, project_id)
            await reception.people.archive_project(command_line(there))

        self._do(archive)

    def check_audit(self, organisation: str) -> str:
        """How long the chain is; raises InternalFailure naming where it is broken."""

        async def check(reception: Reception) -> str:
            number, before = 0, GENESIS
            while True:
                found = await reception.audit.list_entries(
                    OrganisationId(organisation),
                    AuditFilter(),
                    limit=_ENTRIES_AT_ONCE,
                    after=number,
                )
                broken = find_break(found, before, number)
                if broken is not None:
                    raise InternalFailure(f"The audit log is not what was written: entry {broken}.")
                if not found:
                    return f"{number} entries, each as it was written; the last hash is {before}"
                number, before = found[-1].number, found[-1].hash

        return self._do(check)

    async def _project(self, reception: Reception, project: str) -> ProjectId:
        found = await reception.people.store.find_project(ProjectId(project))
        if found is None or found.archived_at is not None:
            raise NotFound(f"There is no open project '{project}'.", param="project")
        return found.id

    def _root(self, url: str | None) -> str:
        settings = self.settings
        here = f"http://{settings.gateway.host}:{settings.gateway.port}"
        return (url or settings.identity.public_url or here).rstrip("/")

    def _do(self, work: Callable[[Reception], Awaitable[T]]) -> T:
        async def main() -> T:
            log = open_log(RealClock(), "warning", sys.stderr)
            async with open_people(self.settings, self.home, log) as reception:
                return await work(reception)

        return run(main())


def _spell(told: list[dict[str, Any]]) -> str:
    return json.dumps(told, indent=2)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
