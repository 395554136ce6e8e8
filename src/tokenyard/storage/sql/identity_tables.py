"""Tables of organisations, people, keys, sessions, invitations and the audit log."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    false,
)

from tokenyard.storage.sql.metadata import metadata

organisations = Table(
    "organisations",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_at", Double, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("archived_at", Double),
)

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    # In lower case; nobody's twice. A removed user has none.
    Column("email", String, unique=True),
    Column("role", String, nullable=False),
    Column("operator", Boolean, nullable=False, server_default=false()),
    # Of a service account: the project that it belongs to.
    Column("project_id", ForeignKey("projects.id")),
    # argon2id with its parameters; None for who signs in another way.
    Column("password_hash", String),
    Column("created_at", Double, nullable=False),
    Column("removed_at", Double),
)

project_members = Table(
    "project_members",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("role", String, nullable=False),
    Column("added_at", Double, nullable=False),
    Index(None, "user_id"),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("email", String, nullable=False),
    Column("role", String, nullable=False),
    Column("operator", Boolean, nullable=False, server_default=false()),
    # A project to be a member of from the first day, and as what.
    Column("project_id", ForeignKey("projects.id")),
    Column("project_role", String),
    Column("invited_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("accepted_at", Double),
    Column("revoked_at", Double),
)

# Who somebody is at an OpenID Connect provider.
user_identities = Table(
    "user_identities",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("linked_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("secret_hash", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("scopes", JSON(none_as_null=True)),
    Column("models", JSON(none_as_null=True)),
    Column("monthly_cap_nanos", BigInteger),
    Column("expires_at", Double),
    Column("last_used_at", Double),
    # The secret before the last rotation.
    Column("previous_hash", String),
    Column("previous_until", Double),
    Column("server_tags", JSON(none_as_null=True)),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "previous_hash", unique=True),
)

web_sessions = Table(
    "web_sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("last_used_at", Double),
    Column("agent", String, nullable=False, server_default=""),
    Index(None, "user_id"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("token_hash", String, primary_key=True),
    Column("expires_at", Double, nullable=False, index=True),
    Column("user_id", String, nullable=False, server_default="user_owner"),
)

# The end of each organisation's chain. Their sum rises with every change of any identity, which
# tells every process that what it remembers may be old.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("organisation_id", String, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("organisation_id", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("action", String, nullable=False),
    Column("user_id", String),
    Column("key_id", String),
    Column("project_id", String),
    Column("object_id", String, nullable=False),
    Column("details", Text, nullable=False),
    # sha256 over the entry before it and all of the above.
    Column("hash", String, nullable=False),
    Index(None, "organisation_id", "at"),
)
