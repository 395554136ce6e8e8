"""Keys of model servers at rest: encrypted with a key that is not in the database.

AES-256-GCM, with the server's name as associated data, so that a sealed key cannot be put under
another server's name. Source: NIST SP 800-38D.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from tokenyard.runtime.randomness import Randomness
from tokenyard.vocabulary.errors import InternalFailure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class Sealer:
    """Seals and opens with one key of 32 bytes."""

    def __init__(self, key: bytes, randomness: Randomness) -> None:
        self._key = key
        self._randomness = randomness

    def seal(self, name: str, secret: str) -> bytes:
        """What may be stored of a secret."""
        nonce = self._randomness.bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> str:
        """The secret again; raises InternalFailure when key, name or bytes are others."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, name.encode()).decode()
        except (InvalidTag, ValueError):
            raise InternalFailure(
                f"The key of the model server {name!r} cannot be opened: it was sealed with "
                "another key file. Set it anew."
            ) from None

    @cached_property
    def _cipher(self) -> "AESGCM":
        # Most installations seal nothing, and need not load the library.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return AESGCM(self._key)
