"""What jobs ask for, as a mix by which fragmentation is measured.

Decides when the mix is worth a new look: at once where past jobs are known, soon where nothing is,
then every few thousand members, older demand counting half each time. It does not know nodes or who
waits.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from tokenyard.jobs.rules.fragmentation import Mix, typical
from tokenyard.jobs.rules.workload import Job, Request

FIRST_MEMBERS = 64
# More members than these count half, and the mix is looked at again after so many.
MEMBERS_MAX = 16_384


class Demand:
    """Counts of requests; a new mix now and then. `mix` is the latest, None before the first."""

    __slots__ = ("_counts", "_known", "_next", "_seen", "mix")

    def __init__(self, past: Mapping[Request, int] | None = None) -> None:
        self._counts: Counter[Request] = Counter(past)
        self._seen = self._counts.total()
        self._next = FIRST_MEMBERS
        self._known: dict[Request, int] = {}
        self.mix: Mix | None = None
        self._look()

    def note(self, job: Job) -> Mix | None:
        """Count the job's members; a mix when it is time for one and it says something new."""
        self._counts.update(asked_by([job]))
        self._seen += job.members_min
        return self._look()

    def _look(self) -> Mix | None:
        """Where all ask for the same there is nothing to weigh, and so no mix."""
        if self._seen < self._next:
            return None
        found = typical(self._counts)
        while self._seen >= MEMBERS_MAX:
            self._counts = Counter({kind: n // 2 for kind, n in self._counts.items() if n > 1})
            self._seen = self._counts.total()
        self._next = min(max(self._seen * 2, FIRST_MEMBERS), MEMBERS_MAX)
        if len(found) < 2 or found == self._known:
            return None
        self._known = found
        self.mix = Mix(found)
        return self.mix


def asked_by(jobs: Iterable[Job]) -> Counter[Request]:
    """How many members ask for what."""
    counts: Counter[Request] = Counter()
    for job in jobs:
        for role in job.roles:
            counts[role.request] += role.members_min
    return counts
