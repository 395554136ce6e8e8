"""The stores in a SQL database: SQLite now, written so that Postgres can follow."""
