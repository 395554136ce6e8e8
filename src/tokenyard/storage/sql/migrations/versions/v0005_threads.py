"""Items as trees; titles, folders and the branch in use; what a response was asked with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# The item that was added before it, in the same conversation or the same lone response.
_CHAIN_CONVERSATIONS = """
    UPDATE items SET parent_id = (
        SELECT before.id FROM items AS before
        WHERE before.conversation_id = items.conversation_id AND before.place < items.place
        ORDER BY before.place DESC LIMIT 1
    ) WHERE conversation_id IS NOT NULL
"""
_CHAIN_RESPONSES = """
    UPDATE items SET parent_id = (
        SELECT before.id FROM items AS before
        WHERE before.response_id = items.response_id AND before.conversation_id IS NULL
          AND before.place < items.place
        ORDER BY before.place DESC LIMIT 1
    ) WHERE conversation_id IS NULL
"""
_LEAVES = """
    UPDATE conversations SET leaf_id = (
        SELECT items.id FROM items WHERE items.conversation_id = conversations.id
        ORDER BY items.place DESC LIMIT 1
    )
"""


def upgrade() -> None:
    for column in (
        _word("title", ""),
        _word("title_by", "nobody"),
        _word("folder", ""),
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=_NO),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=_NO),
        sa.Column("leaf_id", sa.String()),
    ):
        op.add_column("conversations", column)
    op.add_column("items", sa.Column("parent_id", sa.String()))
    op.add_column("items", _word("kind", "message"))
    op.add_column("items", sa.Column("detail", sa.JSON()))
    op.create_index("ix_items_parent_id", "items", ["parent_id"])
    op.add_column(
        "responses", sa.Column("stored", sa.Boolean(), nullable=False, server_default=_YES)
    )
    op.add_column("responses", sa.Column("options", sa.JSON()))
    for statement in (_CHAIN_CONVERSATIONS, _CHAIN_RESPONSES, _LEAVES):
        op.execute(statement)


_NO, _YES = sa.false(), sa.true()


def _word(name: str, default: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, server_default=default)
