"""Builds everything and closes everything: the one room that knows every concrete class."""

from tokenyard.assembly.yard import Yard, open_identity, open_yard

__all__ = ["Yard", "open_identity", "open_yard"]
