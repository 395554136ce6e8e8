"""Tables of stored prompts and shared links."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from tokenyard.storage.sql.metadata import metadata

prompts = Table(
    "prompts",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    # The number of the newest version.
    Column("newest", Integer, nullable=False),
    # Label to version.
    Column("labels", JSON, nullable=False),
    Index(None, "project_id", "created_at", "id"),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("prompt_id", ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("user_id", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("last_used_at", Double),
)

shares = Table(
    "conversation_shares",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False, unique=True),
    Column(
        "conversation_id",
        ForeignKey("conversations.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("project_id", String, nullable=False, index=True),
    Column("user_id", String, nullable=False),
    # The end of the branch that is shown.
    Column("leaf_id", String, index=True),
    Column("created_at", Double, nullable=False),
)
