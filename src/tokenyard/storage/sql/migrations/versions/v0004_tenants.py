"""Organisations, projects, people and the audit log; what is there already becomes the first's."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ORGANISATION = "org_default"
_PROJECT = "proj_default"
_OWNER = "user_owner"


def upgrade() -> None:
    _add_organisations()
    _add_people()
    _add_invitations()
    _add_audit()
    _widen_keys()
    _widen_sessions()
    op.add_column(
        "batches",
        sa.Column("organisation_id", sa.String(), nullable=False, server_default=_ORGANISATION),
    )
    _first_rows()


def _add_organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("archived_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        _refers("projects", "organisation_id", "organisations.id"),
    )
    op.create_index("ix_projects_organisation_id", "projects", ["organisation_id"])


def _add_people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String()),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("operator", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("project_id", sa.String()),
        sa.Column("password_hash", sa.String()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        _refers("users", "organisation_id", "organisations.id"),
        _refers("users", "project_id", "projects.id"),
    )
    op.create_index("ix_users_organisation_id", "users", ["organisation_id"])
    op.create_table(
        "project_members",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "user_id", name="pk_project_members"),
        _refers("project_members", "project_id", "projects.id"),
        _refers("project_members", "user_id", "users.id"),
    )
    op.create_index("ix_project_members_user_id", "project_members", ["user_id"])
    op.create_table(
        "user_identities",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("linked_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_user_identities"),
        _refers("user_identities", "user_id", "users.id"),
    )
    op.create_index("ix_user_identities_user_id", "user_identities", ["user_id"])


def _add_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("operator", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("project_id", sa.String()),
        sa.Column("project_role", sa.String()),
        sa.Column("invited_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("accepted_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
        _refers("invitations", "organisation_id", "organisations.id"),
        _refers("invitations", "project_id", "projects.id"),
    )
    op.create_index("ix_invitations_organisation_id", "invitations", ["organisation_id"])


def _add_audit() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", name="pk_audit_heads"),
    )
    op.create_table(
        "audit_log",
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("user_id", sa.String()),
        sa.Column("key_id", sa.String()),
        sa.Column("project_id", sa.String()),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "number", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_organisation_id_at", "audit_log", ["organisation_id", "at"])


def _widen_keys() -> None:
    for column in (
        sa.Column("scopes", sa.JSON(none_as_null=True)),
        sa.Column("models", sa.JSON(none_as_null=True)),
        sa.Column("monthly_cap_nanos", sa.BigInteger()),
        sa.Column("expires_at", sa.Double()),
        sa.Column("last_used_at", sa.Double()),
        sa.Column("previous_hash", sa.String()),
        sa.Column("previous_until", sa.Double()),
    ):
        op.add_column("api_keys", column)
    op.create_index("ix_api_keys_previous_hash", "api_keys", ["previous_hash"], unique=True)
    # Keys from before there were scopes could do everything.
    keys = sa.table("api_keys", sa.column("scopes", sa.JSON()))
    op.execute(keys.update().values(scopes=["*"]))


def _widen_sessions() -> None:
    op.add_column("web_sessions", sa.Column("last_used_at", sa.Double()))
    op.add_column(
        "web_sessions", sa.Column("agent", sa.String(), nullable=False, server_default="")
    )
    op.create_index("ix_web_sessions_user_id", "web_sessions", ["user_id"])
    op.add_column(
        "sign_in_links",
        sa.Column("user_id", sa.String(), nullable=False, server_default=_OWNER),
    )


def _first_rows() -> None:
    now: sa.Cast[float] = sa.cast(sa.extract("epoch", sa.func.current_timestamp()), sa.Double())
    for table, values in (
        ("organisations", {"id": _ORGANISATION, "name": "My organisation"}),
        ("projects", {"id": _PROJECT, "organisation_id": _ORGANISATION, "name": "Default"}),
        (
            "users",
            {
                "id": _OWNER,
                "organisation_id": _ORGANISATION,
                "kind": "person",
                "name": "Owner",
                "role": "owner",
                "operator": sa.true(),
            },
        ),
    ):
        into = sa.table(table, *(sa.column(name) for name in (*values, "created_at")))
        op.execute(into.insert().values(**values, created_at=now))


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")
