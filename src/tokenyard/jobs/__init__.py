"""The batch scheduler: what runs on which machine, and why the rest waits."""
