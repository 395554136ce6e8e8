"""What several gateways share at the speed of memory, in Redis or Valkey."""
