"""`tokenyard keys` and `tokenyard sign-in-link`: they work beside a running server."""

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from tokenyard.assembly import open_people
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.server import run
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import open_log
from tokenyard.vocabulary.identity import DEFAULT_PROJECT
from tokenyard.vocabulary.ids import KeyId

T = TypeVar("T")


def create_key(settings: Settings, home: Path, name: str) -> str:
    """The secret of a new key."""

    async def create(identity: Identity) -> str:
        secret, _ = await identity.keys.create(command_line(DEFAULT_PROJECT), KeyTerms(name))
        return secret

    return _with_identity(settings, home, create)


def list_keys(settings: Settings, home: Path, *, as_json: bool) -> str:
    """All keys as a table, or as JSON."""
    keys = _with_identity(settings, home, lambda identity: identity.keys.list(DEFAULT_PROJECT))
    if as_json:
        return json.dumps(
            [
                {
                    "id": key.id,
                    "name": key.name,
                    "hint": key.hint,
                    "created_at": key.created_at,
                    "revoked_at": key.revoked_at,
                }
                for key in keys
            ],
            indent=2,
        )
    if not keys:
        return "No keys yet. Make one: tokenyard keys create --name NAME"
    lines = [f"{'id':28} {'name':28} {'key':13} {'made (UTC)':16} state"]
    for key in keys:
        state = "active" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"
        made = _day(key.created_at)
        lines.append(f"{key.id:28} {key.name[:28]:28} {key.hint:13} {made:16} {state}")
    return "\n".join(lines)


def revoke_key(settings: Settings, home: Path, key_id: str) -> None:
    """Revoke; raises NotFound."""
    owner = command_line(DEFAULT_PROJECT)
    _with_identity(settings, home, lambda identity: identity.keys.revoke(owner, KeyId(key_id)))


def make_sign_in_link(settings: Settings, home: Path, url: str | None) -> str:
    """A new one-time link."""
    token = _with_identity(settings, home, lambda identity: identity.sessions.create_link_token())
    root = url or f"http://{settings.gateway.host}:{settings.gateway.port}"
    return f"{root.rstrip('/')}/sign-in?token={token}"


def _with_identity(settings: Settings, home: Path, work: Callable[[Identity], Awaitable[T]]) -> T:
    async def main() -> T:
        log = open_log(RealClock(), "warning", sys.stderr)
        async with open_people(settings, home, log) as reception:
            return await work(reception.identity)

    return run(main())


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
