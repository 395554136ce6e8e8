"""Pure decisions at the door: limits, keys, admission."""
