"""What Alembic runs: the migrations, in the one transaction that `app.store.migrate` has begun."""

from alembic import context

from app.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite changes a table by copying it.
    render_as_batch=connection.dialect.name == "sqlite",
    # Alembic supposes that SQLite cannot undo a schema change; in a transaction that was begun in so many words it can.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
