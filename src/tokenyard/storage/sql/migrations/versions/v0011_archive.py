"""Full-text search over messages, and read-only links to conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# The index holds no copy of the text; the triggers tell it which words went.
_SQLITE = (
    "CREATE VIRTUAL TABLE item_search USING fts5(text, content='items', content_rowid='place', "
    "tokenize='unicode61 remove_diacritics 0')",
    "INSERT INTO item_search (rowid, text) SELECT place, text FROM items",
    "CREATE TRIGGER item_search_added AFTER INSERT ON items BEGIN "
    "INSERT INTO item_search (rowid, text) VALUES (new.place, new.text); END",
    "CREATE TRIGGER item_search_deleted AFTER DELETE ON items BEGIN "
    "INSERT INTO item_search (item_search, rowid, text) VALUES ('delete', old.place, old.text); "
    "END",
    "CREATE TRIGGER item_search_changed AFTER UPDATE OF text ON items BEGIN "
    "INSERT INTO item_search (item_search, rowid, text) VALUES ('delete', old.place, old.text); "
    "INSERT INTO item_search (rowid, text) VALUES (new.place, new.text); END",
)
_POSTGRES = (
    "CREATE INDEX ix_items_search ON items USING gin (to_tsvector('simple', left(text, 200000)))"
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SQLITE:
            op.execute(statement)
    else:
        op.execute(_POSTGRES)
    op.create_table(
        "conversation_shares",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("leaf_id", sa.String()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversation_shares"),
        sa.UniqueConstraint("secret_hash", name="uq_conversation_shares_secret_hash"),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name="fk_conversation_shares_conversation_id",
            ondelete="CASCADE",
        ),
    )
    for column in ("conversation_id", "project_id", "leaf_id"):
        op.create_index(f"ix_conversation_shares_{column}", "conversation_shares", [column])
