"""Idempotency keys in memory, for tests."""

from dataclasses import dataclass

from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.replays import Claim, Kept


@dataclass(frozen=True, slots=True)
class _Held:
    claim: Claim
    until: float


class MemoryReplayStore:
    """Keeps `gateway.replays.ReplayStore`."""

    def __init__(self) -> None:
        self._held: dict[tuple[ProjectId, str], _Held] = {}

    async def claim(
        self, project: ProjectId, key: str, fingerprint: str, *, now: float, until: float
    ) -> Claim | None:
        """Claim a key; None when it was free and now is ours."""
        held = self._held.get((project, key))
        if held is not None and held.until > now:
            return held.claim
        self._held[project, key] = _Held(Claim(fingerprint, None), until)
        return None

    async def keep(self, project: ProjectId, key: str, answer: Kept, *, until: float) -> None:
        """The answer of a key that we claimed."""
        fingerprint = self._held[project, key].claim.fingerprint
        self._held[project, key] = _Held(Claim(fingerprint, answer), until)

    async def free(self, project: ProjectId, key: str) -> None:
        """Give a claimed key up."""
        self._held.pop((project, key), None)

    async def sweep(self, now: float) -> None:
        """Remove what has expired."""
        self._held = {place: held for place, held in self._held.items() if held.until > now}
