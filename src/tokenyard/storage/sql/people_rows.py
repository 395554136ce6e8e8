"""Organisations, projects, people and invitations as rows and back, field by field."""

from typing import Any

from sqlalchemy import Row

from tokenyard.vocabulary.identity import (
    Invitation,
    Member,
    Organisation,
    Project,
    Role,
    User,
    UserKind,
)
from tokenyard.vocabulary.ids import InvitationId, OrganisationId, ProjectId, UserId

Values = dict[str, Any]


def write_organisation(organisation: Organisation) -> Values:
    return {
        "id": organisation.id,
        "name": organisation.name,
        "created_at": organisation.created_at,
    }


def read_organisation(row: Row[Any]) -> Organisation:
    return Organisation(OrganisationId(row.id), row.name, row.created_at)


def write_project(project: Project) -> Values:
    return {
        "id": project.id,
        "organisation_id": project.organisation,
        "name": project.name,
        "created_at": project.created_at,
        "archived_at": project.archived_at,
    }


def read_project(row: Row[Any]) -> Project:
    return Project(
        ProjectId(row.id),
        OrganisationId(row.organisation_id),
        row.name,
        row.created_at,
        row.archived_at,
    )


def write_user(user: User) -> Values:
    return {
        "id": user.id,
        "organisation_id": user.organisation,
        "kind": user.kind.value,
        "name": user.name,
        "email": user.email,
        "role": user.role.value,
        "operator": user.operator,
        "project_id": user.project,
        "password_hash": user.password_hash,
        "created_at": user.created_at,
        "removed_at": user.removed_at,
    }


def read_user(row: Row[Any]) -> User:
    return User(
        id=UserId(row.id),
        organisation=OrganisationId(row.organisation_id),
        kind=UserKind(row.kind),
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        email=row.email,
        operator=row.operator,
        project=None if row.project_id is None else ProjectId(row.project_id),
        password_hash=row.password_hash,
        removed_at=row.removed_at,
    )


def read_member(row: Row[Any]) -> Member:
    return Member(read_user(row), Role(row.project_role), row.added_at)


def write_invitation(invitation: Invitation) -> Values:
    project_role = invitation.project_role
    return {
        "id": invitation.id,
        "organisation_id": invitation.organisation,
        "token_hash": invitation.token_hash,
        "email": invitation.email,
        "role": invitation.role.value,
        "operator": invitation.operator,
        "project_id": invitation.project,
        "project_role": None if project_role is None else project_role.value,
        "invited_by": invitation.invited_by,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "accepted_at": invitation.accepted_at,
        "revoked_at": invitation.revoked_at,
    }


def read_invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        id=InvitationId(row.id),
        organisation=OrganisationId(row.organisation_id),
        token_hash=row.token_hash,
        email=row.email,
        role=Role(row.role),
        invited_by=UserId(row.invited_by),
        created_at=row.created_at,
        expires_at=row.expires_at,
        operator=row.operator,
        project=None if row.project_id is None else ProjectId(row.project_id),
        project_role=None if row.project_role is None else Role(row.project_role),
        accepted_at=row.accepted_at,
        revoked_at=row.revoked_at,
    )
