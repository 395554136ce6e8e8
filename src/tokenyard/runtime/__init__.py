"""The clock, randomness, tasks, settings and the data folder: the only room that touches time and chance."""
