"""Chance as a parameter: secrets from the operating system, or everything from one seed."""

import os
import random
from typing import Protocol

from tokenyard.vocabulary.ids import IdPrefix

ID_BYTES = 12
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Randomness(Protocol):
    """What a room may know of chance."""

    def bytes(self, count: int) -> bytes:
        """That many random bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high]; for jitter."""
        ...


class SystemRandomness:
    """Unpredictable: for secrets, ids and jitter in production."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class SeededRandomness:
    """Repeatable: the same seed gives the same run, for tests and simulations only."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def mint(prefix: IdPrefix, randomness: Randomness) -> str:
    """A fresh id of that kind: 96 random bits in hexadecimal, unguessable in production."""
    return f"{prefix}_{randomness.bytes(ID_BYTES).hex()}"


def base62(data: bytes, length: int) -> str:
    """Spell random bytes with letters and digits, padded or cut to `length` characters."""
    number = int.from_bytes(data, "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
