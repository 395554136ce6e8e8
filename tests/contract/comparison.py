"""How a migrated database is held against the schema: all but the search index, which SQLAlchemy
cannot describe."""

from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection

SEARCH = ("item_search", "ix_items_search")


def configure_comparison(connection: Connection) -> MigrationContext:
    def is_ours(thing: Any, name: str | None, *_: Any) -> bool:
        return not (name or "").startswith(SEARCH)

    return MigrationContext.configure(connection, opts={"include_object": is_ours})
