"""Workloads replayed in virtual time through the very plan() that schedules in production."""
