"""Where jobs run: the only room that starts processes."""
