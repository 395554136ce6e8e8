"""Keys, sessions, people and projects as rows and back, field by field."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from tokenyard.vocabulary.identity import ApiKey, Role, Standing, WebSession
from tokenyard.vocabulary.ids import KeyId, OrganisationId, ProjectId, SessionId, UserId

Values = dict[str, Any]


def write_key(key: ApiKey) -> Values:
    values = asdict(key)
    values["user_id"], values["project_id"] = values.pop("user"), values.pop("project")
    return values


def read_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=KeyId(row.id),
        name=row.name,
        secret_hash=row.secret_hash,
        hint=row.hint,
        user=UserId(row.user_id),
        project=ProjectId(row.project_id),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        scopes=None if row.scopes is None else tuple(row.scopes),
        models=None if row.models is None else tuple(row.models),
        monthly_cap_nanos=row.monthly_cap_nanos,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        previous_hash=row.previous_hash,
        previous_until=row.previous_until,
        server_tags=tuple(row.server_tags or ()),
    )


def write_session(session: WebSession) -> Values:
    values = asdict(session)
    values["user_id"], values["project_id"] = values.pop("user"), values.pop("project")
    return values


def read_session(row: Row[Any]) -> WebSession:
    return WebSession(
        id=SessionId(row.id),
        token_hash=row.token_hash,
        user=UserId(row.user_id),
        project=ProjectId(row.project_id),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        agent=row.agent,
    )


def read_standing(row: Row[Any]) -> Standing:
    return Standing(
        organisation=OrganisationId(row.organisation_id),
        organisation_role=Role(row.role),
        project_role=None if row.project_role is None else Role(row.project_role),
        operator=row.operator,
    )
