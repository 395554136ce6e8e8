"""What jobs have lately asked for, as a mix by which fragmentation is measured.

Decides when the mix is worth a new look: soon at first, then every few thousand members, older
demand counting half each time. It does not know nodes or who waits.
"""

from collections import Counter

from tokenyard.jobs.rules.fragmentation import Mix, typical
from tokenyard.jobs.rules.workload import Job, Request

FIRST_MEMBERS = 64
# More members than these count half, and the mix is looked at again after so many.
MEMBERS_MAX = 16_384


class Demand:
    """Counts of requests; a new mix now and then."""

    __slots__ = ("_counts", "_known", "_next", "_seen")

    def __init__(self) -> None:
        self._counts: Counter[Request] = Counter()
        self._seen = 0
        self._next = FIRST_MEMBERS
        self._known: dict[Request, int] = {}

    def note(self, job: Job) -> Mix | None:
        """Count the job's members; a mix when it is time for one and it says something new.

        Where all ask for the same there is nothing to weigh, and so no mix.
        """
        for role in job.roles:
            self._counts[role.request] += role.members_min
        self._seen += job.members_min
        if self._seen < self._next:
            return None
        found = typical(self._counts)
        if self._seen >= MEMBERS_MAX:
            self._counts = Counter({kind: n // 2 for kind, n in self._counts.items() if n > 1})
            self._seen = self._counts.total()
        self._next = min(self._seen * 2, MEMBERS_MAX)
        if len(found) < 2 or found == self._known:
            return None
        self._known = found
        return Mix(found)
