"""Batching, paging, prefixes and stopping: decided in ids and counts, never a tensor."""
