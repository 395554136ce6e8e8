"""How fast an answer came."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    for name in ("first_token_ms", "total_ms", "queue_ms"):
        op.add_column("responses", sa.Column(name, sa.Double()))
