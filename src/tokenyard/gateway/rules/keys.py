"""The spelling of API keys and of other secrets: `ty-`, 43 random characters, 6 of checksum.

The checksum tells a mistyped key from a wrong one without asking the store, and lets secret
scanners find keys that were published. Secrets are stored as sha256 only: with 256 random bits a
slow hash adds nothing.
"""

import hashlib
import zlib

PREFIX = "ty-"
RANDOM_CHARACTERS = 43
CHECKSUM_CHARACTERS = 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def spell_key(random_part: str) -> str:
    """A whole key from 43 random letters and digits."""
    return f"{PREFIX}{random_part}{_checksum(random_part)}"


def well_formed(key: str) -> bool:
    """True when prefix, length and checksum are those of a key that we gave out."""
    body = key.removeprefix(PREFIX)
    if body == key or len(body) != RANDOM_CHARACTERS + CHECKSUM_CHARACTERS:
        return False
    return _checksum(body[:RANDOM_CHARACTERS]) == body[RANDOM_CHARACTERS:]


def hash_secret(secret: str) -> str:
    """What is stored of a secret: sha256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hint_of(key: str) -> str:
    """Enough of a key to recognise it in a list, far too little to use it."""
    return f"{key[:6]}…{key[-4:]}"


def _checksum(random_part: str) -> str:
    number = zlib.crc32(random_part.encode())
    digits = []
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
