"""Where truth is kept: the ports of many rooms over memory, SQLite and, when scaled, Postgres and Redis."""
