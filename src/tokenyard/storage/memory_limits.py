"""Definitions of limits in memory, for tests."""

from tokenyard.vocabulary.ids import LimitId
from tokenyard.vocabulary.limits import Limit


class MemoryLimitDefinitions:
    """Keeps `gateway.ports.LimitDefinitions`."""

    def __init__(self) -> None:
        self._limits: dict[LimitId, Limit] = {}

    async def list_limits(self) -> list[Limit]:
        """All of them, by level, subject and name."""
        return sorted(self._limits.values(), key=lambda one: (one.level, one.subject, one.name))

    async def put_limit(self, limit: Limit) -> None:
        """Store a limit in place of that of its tenant, level, subject, measure and window."""
        for held in list(self._limits.values()):
            if (held.organisation, held.subject, held.name) == (
                limit.organisation, limit.subject, limit.name,
            ):  # fmt: skip
                del self._limits[_id(held)]
        self._limits[_id(limit)] = limit

    async def delete_limit(self, limit: LimitId) -> bool:
        """Forget a limit; False when there is none of that id."""
        return self._limits.pop(limit, None) is not None


def _id(limit: Limit) -> LimitId:
    if limit.id is None:
        raise ValueError("a limit of the settings is not stored")
    return limit.id
