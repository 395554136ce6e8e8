"""Conversations, and responses whose stream outlives the connection that asked for it."""
