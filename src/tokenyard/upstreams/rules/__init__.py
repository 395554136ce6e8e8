"""Pure decisions about model servers: which one, and when to stop asking one."""
