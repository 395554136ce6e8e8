"""What each writing process has committed last."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "writers",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("last_commit", sa.String(), nullable=False),
        sa.Column("written_on", sa.Date(), nullable=False, server_default=sa.func.current_date()),
    )
