"""Clock, randomness, tasks, settings, lifecycle: the only room that touches time and chance."""
