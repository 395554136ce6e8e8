"""Keys, and batches made with them, say which tags a model server must have."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("server_tags", sa.JSON(none_as_null=True)))
    op.add_column("batches", sa.Column("server_tags", sa.JSON(none_as_null=True)))
