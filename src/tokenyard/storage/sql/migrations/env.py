"""What Alembic runs to apply the steps to the connection that `storage.sql.upgrade` gives it."""

from alembic import context

from tokenyard.storage.sql.schema import metadata

# tidy: allow import-effect: Alembic runs this file as a script
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a table by making it anew.
    render_as_batch=True,
)
# tidy: allow import-effect: Alembic runs this file as a script
context.run_migrations()
