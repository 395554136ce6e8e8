"""WebSockets to `/v1/responses`: many answers on one connection, each asked for like a request."""
