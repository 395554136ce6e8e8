"""Builds everything and closes everything: the one room that knows every concrete class."""

from tokenyard.assembly.scaled import open_scaled_yard
from tokenyard.assembly.yard import Yard, open_books, open_gateway, open_people, open_yard

__all__ = ["Yard", "open_books", "open_gateway", "open_people", "open_scaled_yard", "open_yard"]
