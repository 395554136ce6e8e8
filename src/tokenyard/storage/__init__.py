"""Where truth is kept: the ports of many rooms over memory, SQLite and later Postgres and Redis."""
