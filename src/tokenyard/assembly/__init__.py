"""Builds everything and closes everything: the one room that knows every concrete class.

`yard` is the whole platform in the order in which it is opened; each other module builds one part of
it on the same `Ground`.
"""

from tokenyard.assembly.yard import Yard, open_identity, open_yard

__all__ = ["Yard", "open_identity", "open_yard"]
