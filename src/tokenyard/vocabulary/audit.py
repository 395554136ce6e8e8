"""The audit log: who did what to which object, each entry chained to the one before it.

An entry is written in the transaction of the change that it tells of, and never altered. Its hash
covers the hash before it, so that an entry which was changed, taken out or put in between breaks
the chain of its organisation from there on. Knows nothing of where entries are kept.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import KeyId, OrganisationId, ProjectId, UserId

# What stands before the first entry of an organisation.
GENESIS = ""


class AuditAction(StrEnum):
    """What can be done to something, as `<object>.<what happened>`."""

    SIGNED_IN = "session.created"
    SIGNED_OUT = "session.ended"
    LINK_CREATED = "sign_in_link.created"
    PROJECT_CHOSEN = "session.project_chosen"
    KEY_CREATED = "api_key.created"
    KEY_UPDATED = "api_key.updated"
    KEY_ROTATED = "api_key.rotated"
    KEY_REVOKED = "api_key.revoked"
    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_UPDATED = "organisation.updated"
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_ARCHIVED = "project.archived"
    MEMBER_ADDED = "project_user.added"
    MEMBER_UPDATED = "project_user.updated"
    MEMBER_REMOVED = "project_user.removed"
    USER_ADDED = "user.added"
    USER_UPDATED = "user.updated"
    USER_REMOVED = "user.removed"
    PASSWORD_CHANGED = "user.password_changed"
    IDENTITY_LINKED = "user.identity_linked"
    INVITED = "invite.sent"
    INVITATION_ACCEPTED = "invite.accepted"
    INVITATION_REVOKED = "invite.deleted"
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_REMOVED = "service_account.deleted"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done. Holds names and numbers, never a secret, a prompt or an answer."""

    organisation: OrganisationId
    at: float
    action: str
    # None for what nobody did who has signed in: the command line, or a taken invitation.
    user: UserId | None
    key: KeyId | None
    project: ProjectId | None
    # The id of what was changed.
    object: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry in its place. Numbers of an organisation begin with 1 and have no gaps."""

    entry: AuditEntry
    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None means all. Times are since <= at < until."""

    action: str | None = None
    user: UserId | None = None
    project: ProjectId | None = None
    object: str | None = None
    since: float | None = None
    until: float | None = None


def entry_by(
    caller: Principal,
    at: float,
    action: str,
    object: str,
    details: Mapping[str, str] | None = None,
    *,
    project: ProjectId | None = None,
) -> AuditEntry:
    """What the caller did; `project` is the one it happened in, the caller's own without it."""
    return AuditEntry(
        organisation=caller.organisation,
        at=at,
        action=action,
        user=caller.user,
        key=caller.key,
        project=project or caller.project,
        object=object,
        details=details or {},
    )


def chain(before: str, number: int, entry: AuditEntry) -> str:
    """The hash of an entry: sha256 over the hash before it and all that it says, hex."""
    said = [
        before,
        number,
        entry.organisation,
        entry.at,
        entry.action,
        entry.user,
        entry.key,
        entry.project,
        entry.object,
        spell_details(entry.details),
    ]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def spell_details(details: Mapping[str, str]) -> str:
    """Details as text that is the same for the same details."""
    return json.dumps(dict(details), sort_keys=True, separators=(",", ":"))


def find_break(
    records: Iterable[AuditRecord], before: str = GENESIS, number: int = 0
) -> int | None:
    """The number of the first entry that is not what was written; None when all are.

    before, number: of the entry that the records follow.
    """
    for record in records:
        number += 1
        if record.number != number or chain(before, number, record.entry) != record.hash:
            return number
        before = record.hash
    return None
