"""Postgres, Valkey and nginx as processes of ours, for the scaled form on one machine."""
