"""A batch is held to what its key is held to: some models, and a cap."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("batches", sa.Column("key_models", sa.JSON(none_as_null=True)))
    op.add_column("batches", sa.Column("key_cap_nanos", sa.BigInteger()))
