"""What requests must share to be sent to the same server: a session's name, or their beginning."""

import hashlib
from typing import Any

import msgspec

_NAMES = ("prompt_cache_key", "session_id")


def affinity_of(tree: dict[str, Any], size: int) -> bytes:
    """A few bytes, equal for requests whose prompts share the first `size` bytes; empty for none.

    tree: the body of the request. A name that the caller gave stands before the beginning.
    """
    for name in _NAMES:
        told = tree.get(name)
        if isinstance(told, str) and told:
            return _digest(told.encode())
    prompt = tree.get("messages") or tree.get("prompt")
    return _digest(msgspec.json.encode(prompt)[:size]) if prompt else b""


def _digest(told: bytes) -> bytes:
    return hashlib.blake2b(told, digest_size=8).digest()
