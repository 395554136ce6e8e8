"""The executors together: what they know, and how they are made to do what is stored.

Decides nothing; an order is given again in every cycle until the report agrees with the record.
"""

from collections.abc import Mapping, Sequence

from tokenyard.jobs.ports import Executor, Launch, MemberId, MemberReport
from tokenyard.jobs.records import JobRecord, Lease, MemberSeat, NodeRecord
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.shape import member_of
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.ids import NodeName


class Crew:
    """All executors of one leader."""

    def __init__(self, executors: Sequence[Executor], clock: Clock) -> None:
        self._executors = {executor.name: executor for executor in executors}
        self._clock = clock
        self._owners: dict[MemberId, Executor] = {}

    async def look(self) -> tuple[dict[NodeName, NodeRecord], dict[MemberId, MemberReport]]:
        """The nodes that are there, and all members."""
        seen: dict[NodeName, NodeRecord] = {}
        reports: dict[MemberId, MemberReport] = {}
        self._owners.clear()
        for executor in self._executors.values():
            seen |= {node.name: node for node in await executor.nodes()}
            found = await executor.report()
            reports |= found
            self._owners |= dict.fromkeys(found, executor)
        return seen, reports

    async def tell(
        self,
        seated: Sequence[JobRecord],
        nodes: Mapping[NodeName, NodeRecord],
        reports: Mapping[MemberId, MemberReport],
        lease: Lease,
    ) -> None:
        """Start who is to run, stop who is to go, and let go of who is not wanted any more."""
        wanted: set[MemberId] = set()
        for record in seated:
            for seat in record.seats:
                member = member_of(record, seat)
                wanted.add(member)
                if self._clock.now() >= lease.until:
                    # Somebody else may lead already.
                    return
                node = nodes.get(seat.node)
                executor = None if node is None else self._executors.get(node.executor)
                report = reports.get(member)
                over = report is not None and report.phase.is_over
                if node is None or executor is None or over:
                    continue
                if record.state is State.STOPPING:
                    grace = max((record.stop_at or 0.0) - self._clock.now(), 0.0)
                    await executor.stop(member, seat.node, grace_seconds=grace, epoch=lease.epoch)
                elif report is None and not node.lost:
                    await executor.launch(_launch(record, seat, member, lease.epoch))
        for member in sorted(reports.keys() - wanted):
            executor, report = self._owners[member], reports[member]
            if report.phase.is_over:
                await executor.forget(member, report.node)
            else:
                await executor.stop(member, report.node, grace_seconds=0.0, epoch=lease.epoch)


def _launch(record: JobRecord, seat: MemberSeat, member: MemberId, epoch: int) -> Launch:
    beside = sorted(other.rank for other in record.seats if other.node == seat.node)
    first = min(record.seats, key=lambda one: one.rank)
    return Launch(
        id=member,
        node=seat.node,
        gpus=seat.gpus,
        spec=record.spec,
        role=seat.role,
        members=record.members,
        local_rank=beside.index(seat.rank),
        local_members=len(beside),
        master=first.node,
        array_index=record.array_index,
        epoch=epoch,
        resumed_step=record.saved_step,
    )
