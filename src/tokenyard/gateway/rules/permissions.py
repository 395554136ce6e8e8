"""The one permission table: which role may what, and what of it a key may.

Every operation of the HTTP API names one permission; the door compares. Knows roles and words;
does not know who has which role.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokenyard.vocabulary.identity import EVERYTHING, Permission, Principal, Role, Standing

_ALL = frozenset(Role)
_WORKING = frozenset({Role.OWNER, Role.ADMIN, Role.DEVELOPER})
_LEADING = frozenset({Role.OWNER, Role.ADMIN})
_OWNING = frozenset({Role.OWNER})
_RANK = {role: place for place, role in enumerate((*reversed(Role),))}


class Level(StrEnum):
    """Whose role counts: the one in the project, the one in the organisation, or the operator."""

    PROJECT = "project"
    ORGANISATION = "organisation"
    INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who has a permission. At the level of the installation every operator has it."""

    level: Level
    roles: frozenset[Role]
    # Whether a key has it unless its scopes say otherwise: a leaked key shall not make more keys.
    usual: bool = False


def _project(roles: frozenset[Role], *, usual: bool = True) -> Grant:
    return Grant(Level.PROJECT, roles, usual)


def _organisation(roles: frozenset[Role]) -> Grant:
    return Grant(Level.ORGANISATION, roles)


_OPERATOR = Grant(Level.INSTALLATION, frozenset())

TABLE: Mapping[Permission, Grant] = {
    Permission.ACCOUNT: _project(_ALL),
    Permission.MODELS_READ: _project(_ALL),
    Permission.INFERENCE: _project(_WORKING),
    Permission.CHAT_READ: _project(_ALL),
    Permission.CHAT_WRITE: _project(_WORKING),
    Permission.PROMPTS_READ: _project(_ALL),
    Permission.PROMPTS_WRITE: _project(_WORKING),
    Permission.FILES_READ: _project(_ALL),
    Permission.FILES_WRITE: _project(_WORKING),
    Permission.BATCHES_READ: _project(_ALL),
    Permission.BATCHES_WRITE: _project(_WORKING),
    Permission.JOBS_READ: _project(_ALL),
    Permission.JOBS_WRITE: _project(_WORKING),
    Permission.USAGE_READ: _project(_ALL),
    Permission.CLUSTER_READ: _project(_ALL),
    Permission.LIMITS_READ: _project(_ALL),
    Permission.UPSTREAMS_READ: _project(_ALL),
    # Their own keys; those of others need `members.write` as well.
    Permission.KEYS_READ: _project(_WORKING, usual=False),
    Permission.KEYS_WRITE: _project(_WORKING, usual=False),
    Permission.MEMBERS_READ: _project(_ALL, usual=False),
    Permission.MEMBERS_WRITE: _project(_LEADING, usual=False),
    # What all projects of the organisation used; without it only the own one.
    Permission.USAGE_READ_ALL: _organisation(_LEADING),
    Permission.LIMITS_WRITE: _organisation(_LEADING),
    Permission.ORGANISATION_READ: _organisation(_ALL),
    Permission.ORGANISATION_WRITE: _organisation(_OWNING),
    Permission.PROJECTS_WRITE: _organisation(_LEADING),
    Permission.PEOPLE_READ: _organisation(_LEADING),
    Permission.PEOPLE_WRITE: _organisation(_LEADING),
    Permission.AUDIT_READ: _organisation(_LEADING),
    Permission.CLUSTER_MANAGE: _OPERATOR,
    Permission.UPSTREAMS_WRITE: _OPERATOR,
    Permission.TENANTS_MANAGE: _OPERATOR,
}

# What is done with them is noted at the door, as the stores behind them know of no audit log.
NOTED = frozenset({Permission.LIMITS_WRITE, Permission.UPSTREAMS_WRITE, Permission.CLUSTER_MANAGE})
USUAL_SCOPES = frozenset(permission for permission, grant in TABLE.items() if grant.usual)


def role_in_project(standing: Standing) -> Role | None:
    """The role that counts there: owners and admins of the organisation are that everywhere."""
    if standing.organisation_role in _LEADING:
        return standing.organisation_role
    return standing.project_role


def grant(standing: Standing) -> frozenset[Permission]:
    """All that somebody of that standing may; nothing for who has no role in the project."""
    role = role_in_project(standing)
    if role is None:
        return frozenset()
    return frozenset(
        permission for permission, grant in TABLE.items() if _has(grant, standing, role)
    )


def cut(permissions: frozenset[Permission], scopes: Iterable[str] | None) -> frozenset[Permission]:
    """What a key with those scopes may, of what its owner may."""
    if scopes is None:
        return permissions & USUAL_SCOPES
    words = set(scopes)
    if EVERYTHING in words:
        return permissions
    return frozenset(permission for permission in permissions if permission in words)


def may_hand_out(caller: Principal, scopes: Iterable[str] | None) -> bool:
    """Whether the caller may make or change a key with those scopes.

    People may: a key never does more than its owner. A key may only pass on what it has itself, and
    nothing when it is held to some models, to a cap or to some servers, as the new one would not.
    """
    if caller.key is None:
        return True
    if caller.models is not None or caller.monthly_cap_nanos is not None or caller.server_tags:
        return False
    wanted = set(USUAL_SCOPES if scopes is None else scopes)
    return EVERYTHING not in wanted and wanted <= caller.permissions


def outranks(actor: Role, other: Role) -> bool:
    """Whether somebody may give, change or take that role: nobody above the own one."""
    return _RANK[actor] >= _RANK[other]


def _has(grant: Grant, standing: Standing, role: Role) -> bool:
    match grant.level:
        case Level.PROJECT:
            return role in grant.roles
        case Level.ORGANISATION:
            return standing.organisation_role in grant.roles
        case Level.INSTALLATION:
            return standing.operator
