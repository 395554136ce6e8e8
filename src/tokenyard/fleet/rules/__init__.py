"""Pure decisions about replicas: when to start one again."""
