"""What is kept of an answer for requests that are repeated with the same Idempotency-Key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole answer. headers: names and values, in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for; `answer` is None while the first request is still being worked on."""

    fingerprint: str
    answer: Kept | None
