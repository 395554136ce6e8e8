"""Who runs where and who waits why: the scheduler's decisions, without clock, chance or I/O."""
