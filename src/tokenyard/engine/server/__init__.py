"""The engine's HTTP face: OpenAI's routes on loopback, and the process around them."""

from tokenyard.engine.server.process import serve

__all__ = ["serve"]
