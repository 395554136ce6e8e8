"""Pure decisions of the chat: numbering, resuming, context; no await, no clock, no I/O."""
