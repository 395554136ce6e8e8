"""What a batch may become, how many lines may run beside chats, and what a failure means."""
