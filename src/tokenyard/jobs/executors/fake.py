"""An executor in which nothing runs but time: for tests, simulations and trying policies out.

What members do is a script; when they do it follows from the clock. Nodes can be lost and come
back, single launches can fail, and commands can get lost on their way. It keeps the contract of
`jobs.ports.Executor` to the letter, so what holds over it must hold over the real ones.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tokenyard.jobs.ports import Launch, LogText, MemberId, MemberPhase, MemberReport
from tokenyard.jobs.records import NodeRecord
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.ids import JobId, NodeName

FAKE = "fake"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a member goes. A member that ignores signals runs until its grace is over."""

    run_seconds: float
    status: int = 0
    phase: MemberPhase = MemberPhase.EXITED
    start_seconds: float = 0.0
    # From being told to go until it has gone.
    stop_seconds: float = 0.0
    # How it ends when told to go, if it is gone in time.
    stop_status: int = -15
    # (seconds from its start, step): the checkpoints that it tells of.
    steps: tuple[tuple[float, int], ...] = ()


Script = Callable[[Launch], Outcome]


@dataclass(slots=True)
class _Member:
    node: NodeName
    began: float
    outcome: Outcome | None
    ends_at: float
    end: MemberReport


class FakeExecutor:
    """Keeps `jobs.ports.Executor` in virtual time."""

    def __init__(self, nodes: Iterable[NodeRecord], script: Script, clock: Clock) -> None:
        self._nodes = {node.name: replace(node, executor=FAKE) for node in nodes}
        self._silent: dict[NodeName, float] = {}
        self._script = script
        self._clock = clock
        self._members: dict[MemberId, _Member] = {}
        self._ever: set[MemberId] = set()
        self._epoch = 0
        # How often each member was really started, for those who check that it was once.
        self.starts: Counter[MemberId] = Counter()
        self.fails_launch: set[NodeName] = set()
        self.discarded: set[JobId] = set()
        # Asked before each command; True loses it on its way.
        self.loses: Callable[[], bool] = lambda: False
        # Asked before each report; True gives the last one again, as if the new one came late.
        self.delays: Callable[[], bool] = lambda: False
        self._told: dict[MemberId, MemberReport] = {}

    @property
    def name(self) -> str:
        """Its name in records of nodes."""
        return FAKE

    async def nodes(self) -> Sequence[NodeRecord]:
        """Nodes that are alive, with the time at which each was last heard of."""
        now = self._clock.now()
        return [
            replace(node, seen_at=self._silent.get(name, now)) for name, node in self._nodes.items()
        ]

    async def report(self) -> Mapping[MemberId, MemberReport]:
        """All members that it has started and not forgotten."""
        if not self.delays():
            self._told = {
                member: self._report(member, held) for member, held in self._members.items()
            }
        return dict(self._told)

    async def launch(self, launch: Launch) -> None:
        """Start a member, unless it was ever started; refused silently for an old epoch."""
        if launch.epoch < self._epoch or self.loses() or launch.node in self._silent:
            return
        self._epoch = launch.epoch
        if launch.id in self._ever:
            return
        self._ever.add(launch.id)
        now = self._clock.now()
        if launch.node in self.fails_launch:
            phase, outcome, ends_at, status = MemberPhase.LAUNCH_FAILED, None, now, None
        else:
            outcome = self._script(launch)
            self.starts[launch.id] += 1
            phase, status = outcome.phase, outcome.status
            ends_at = now + outcome.start_seconds + outcome.run_seconds
        end = MemberReport(launch.id, launch.node, phase, status)
        self._members[launch.id] = _Member(launch.node, now, outcome, ends_at, end)

    async def stop(
        self, member: MemberId, node: NodeName, *, grace_seconds: float, epoch: int
    ) -> None:
        """Send the job's checkpoint signal, and end the member by force after the grace."""
        if epoch < self._epoch or self.loses():
            return
        self._epoch = epoch
        now = self._clock.now()
        held = self._members.get(member)
        if held is None:
            # Whoever asks late to start it must be refused.
            self._ever.add(member)
            end = MemberReport(member, NodeName(""), MemberPhase.EXITED, None, stopped=True)
            self._members[member] = _Member(NodeName(""), now, None, now, end)
            return
        if held.end.stopped and grace_seconds > 0:
            return
        outcome = held.outcome
        wish = 0.0 if outcome is None else outcome.stop_seconds
        ends_at = now + min(wish, grace_seconds)
        if ends_at < held.ends_at and held.node not in self._silent:
            polite = -15 if outcome is None else outcome.stop_status
            status = -9 if wish > grace_seconds else polite
            held.ends_at = ends_at
            held.end = MemberReport(member, held.node, MemberPhase.EXITED, status, stopped=True)

    async def forget(self, member: MemberId, node: NodeName) -> None:
        """Its end is stored; drop what is kept for `report`. Its log stays."""
        self._members.pop(member, None)

    async def discard(self, jobs: Sequence[JobId]) -> None:
        """Remove the folders and logs of those jobs, wherever they ran."""
        self.discarded.update(jobs)

    async def read_log(
        self, member: MemberId, node: NodeName, *, offset: int, limit: int
    ) -> LogText:
        """What it has written from that byte on; empty when there is nothing."""
        text = f"{member.job} attempt {member.attempt} rank {member.rank}\n"
        offset = max(len(text) + offset, 0) if offset < 0 else offset
        piece = text[offset : offset + limit]
        return LogText(piece, offset, offset + len(piece))

    def lose_node(self, name: NodeName) -> None:
        """The node dies, and all on it; nobody is told, it only says nothing any more."""
        now = self._clock.now()
        self._silent[name] = now
        for member, held in self._members.items():
            if held.node == name and held.ends_at > now:
                held.ends_at = now
                held.end = MemberReport(member, name, MemberPhase.LOST, None, "its node died")

    def return_node(self, name: NodeName) -> None:
        """The node is back, empty."""
        self._silent.pop(name, None)

    def running(self) -> list[MemberId]:
        """Members that run at this moment."""
        now = self._clock.now()
        return [member for member, held in self._members.items() if held.ends_at > now]

    def places(self) -> dict[MemberId, NodeName]:
        """Where each member that runs at this moment runs."""
        return {member: self._members[member].node for member in self.running()}

    def _report(self, member: MemberId, held: _Member) -> MemberReport:
        now = self._clock.now()
        step = _step(held, min(now, held.ends_at, self._silent.get(held.node, now)))
        if now >= held.ends_at and held.node not in self._silent:
            return replace(held.end, step=step)
        # What a silent node does is not known: the last that was heard.
        begun = held.outcome is None or now >= held.began + held.outcome.start_seconds
        phase = MemberPhase.RUNNING if begun else MemberPhase.STARTING
        return MemberReport(member, held.node, phase, stopped=held.end.stopped, step=step)


def _step(held: _Member, at: float) -> int | None:
    """Of the last checkpoint until then."""
    if held.outcome is None:
        return None
    worked = at - held.began - held.outcome.start_seconds
    return max((step for after, step in held.outcome.steps if after <= worked), default=None)
