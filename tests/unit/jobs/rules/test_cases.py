"""The cases of other schedulers' test suites, each under the profile of its philosophy."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tokenyard.jobs.rules.board import Board, Entry, Phase, progressed
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Preempt, Release, Start
from tokenyard.jobs.rules.explain import explain
from tokenyard.jobs.rules.fairness import QueueSpec, Reclaim, Within
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import (
    QUOTA_PROTECTING,
    QUOTA_PROTECTING_FAIR,
    SHARE_PROTECTING,
    Profile,
)
from tokenyard.jobs.rules.workload import (
    UNLIMITED,
    Amount,
    Job,
    Request,
    Role,
    Seat,
    Topology,
)
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

Json = dict[str, Any]
FILE = Path(__file__).parents[3] / "cases" / "scheduler_cases.json"
CASES: dict[str, Json] = {case["id"]: case for case in json.loads(FILE.read_text())["cases"]}

PROFILE_OF: dict[str, Profile] = {
    **dict.fromkeys(("k01", "k03", "k05", "k07", "k15"), QUOTA_PROTECTING),
    **dict.fromkeys(("k09", "k11", "k13"), QUOTA_PROTECTING_FAIR),
    **{f"a{n:02d}": SHARE_PROTECTING for n in (1, 3, 5, 7, 9, 11, 13, 15, 17)},
    **dict.fromkeys(("n01", "n03", "n05", "v01", "v03"), QUOTA_PROTECTING),
    "v05": SHARE_PROTECTING,
}
PRIORITIES = {"low": 1, "high": 9, "train": 50, "build": 100}


@dataclass
class Told:
    """What happened in one round, by job."""

    started: list[Entry] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)

    def by_queue(self, evicted_from: dict[str, str]) -> tuple[Counter[str], Counter[str]]:
        started: Counter[str] = Counter()
        for entry in self.started:
            started[entry.job.queue] += len(entry.seats)
        return started, Counter(evicted_from[job] for job in self.evicted)


class Scene:
    """A case's cluster and queues, and rounds of planning on it."""

    def __init__(self, case: Json, profile: Profile) -> None:
        given = case["given"]
        self.is_gpu = case["unit"] == "gpu"
        nodes = [self.node(spec) for spec in given.get("nodes", ())]
        nodes = nodes or [self.node({"name": "n", "capacity": 1000})]
        specs = [self.queue(spec, given) for spec in given.get("queues", ({"name": "q"},))]
        specs += [
            QueueSpec(QueueName(name))
            for name in sorted({s.parent for s in specs if s.parent is not None})
        ]
        self.board = Board(nodes, specs, profile)
        self.first_queue = next(spec.name for spec in specs)
        self.count = 0
        self.now = 100.0
        # Gang members count one by one, as in the peers' tables.
        self.queue_of: dict[str, str] = {}

    def node(self, spec: Json) -> Node:
        labels = dict(spec.get("labels", {}))
        labels |= {key: spec[key] for key in ("rack", "role") if key in spec}
        return Node(
            NodeName(spec["name"]),
            gpus=spec.get("gpus", 0),
            cpu_milli=spec.get("capacity", 1000) * 1000,
            memory_mib=1 << 20,
            labels=labels,
        )

    def quota(self, count: float) -> Amount:
        scaled = int(count * 1000)
        if self.is_gpu:
            return Amount(scaled, UNLIMITED[1], UNLIMITED[2])
        return Amount(UNLIMITED[0], scaled, UNLIMITED[2])

    def queue(self, spec: Json, given: Json) -> QueueSpec:
        limit, borrow = spec.get("borrow_preempt"), spec.get("borrow_limit")
        nominal, cap = spec.get("nominal"), spec.get("cap")
        capacity = sum(node.get("capacity", 0) for node in given.get("nodes", ()))
        caps = tuple(
            (int(priority), self.quota(float(Fraction(part) * capacity)))
            for priority, part in given.get("per_priority_fraction", {}).items()
        )
        # KAI and Volcano let the more urgent job of a queue displace the less urgent one.
        within = Within.NEVER if nominal is not None else Within.LOWER_PRIORITY
        return QueueSpec(
            QueueName(spec["name"]),
            QueueName(spec["cohort"]) if "cohort" in spec else None,
            nominal=self.quota(nominal) if nominal is not None else None,
            borrow_max=self.quota(borrow) if borrow is not None else None,
            cap=self.quota(cap) if cap is not None else None,
            weight=spec.get("weight", 1),
            within=Within(spec["within_queue"]) if "within_queue" in spec else within,
            reclaim=Reclaim(spec.get("reclaim", "never")),
            borrow_victim_priority_max=limit["max_priority"] if limit else None,
            priority_caps=caps,
        )

    def request(self, size: float, **more: Any) -> Request:
        if self.is_gpu:
            return Request(gpus=int(size), **more)
        return Request(cpu_milli=int(size * 1000), **more)

    def job(self, spec: Json) -> Job:
        self.count += 1
        name = str(spec.get("id") or spec.get("gang") or f"job{self.count}")
        size = next(
            {"default": 1, **spec}[key]
            for key in ("request", "request_per_member", "gpus_per_member", "gpus", "default")
            if key in {"default": 1, **spec}
        )
        named: Any = spec.get("members", spec.get("size", 1))
        members = len(named) if isinstance(named, list) else int(named)
        roles: tuple[Role, ...] = (
            Role(self.request(size), int(spec.get("min_members", members)), members),
        )
        if "roles" in spec:
            roles = tuple(
                Role(self.request(role["request"], labels=(("role", key),)), role["min"],
                     role["members"], key)
                for key, role in spec["roles"].items()
            )  # fmt: skip
        level = spec.get("required_level") or spec.get("same_label")
        priority: Any = spec.get("priority", 0)
        job = Job(
            JobId(name),
            QueueName(spec.get("queue", self.first_queue)),
            roles,
            priority=PRIORITIES.get(priority, priority),
            submitted_at=float(spec.get("created_at", 0)),
            preemptible=spec.get("preemptible", True),
            topology=Topology(level) if level else None,
        )
        self.queue_of[name] = job.queue
        return job

    def seat(self, spec: Json) -> Entry:
        """A job that runs already, on the node named or on the first with room."""
        job = self.job(spec)
        members = [m for m in spec.get("members", [spec]) if m.get("state") != "pending"]
        cluster, seats = self.board.cluster, []
        request = job.roles[0].request
        mark = cluster.mark()
        for member in members:
            fitting = [n for n in cluster.nodes if n.fits(request)]
            node = cluster.by_name[member["node"]] if "node" in member else fitting[0]
            free = [gpu for gpu, left in enumerate(node.gpus) if left == 1000]
            seats.append(Seat(node.index, tuple(free[: request.gpus]), request))
            cluster.take(seats[-1])
        cluster.undo(mark)
        self.board.submit(job)
        return self.board.seat_part(job.id, tuple(seats), float(spec.get("admitted_at", 0)))

    def round(self) -> Told:
        """Plan and apply until nothing more happens at this moment."""
        told = Told()
        for _ in range(20):
            decided = plan(self.board, self.now)
            if not decided.decisions:
                return told
            apply(self.board, decided.decisions, self.now)
            for decision in decided.decisions:
                if isinstance(decision, Preempt):
                    entry = self.board.entries[decision.job]
                    told.evicted += [decision.job] * len(entry.seats)
                    again = progressed(entry, self.now, preempted=True)
                    self.board.requeue(decision.job, again)
                elif isinstance(decision, Release):
                    told.evicted.append(decision.job)
                elif isinstance(decision, Start):
                    told.started.append(self.board.entries[decision.job])
        raise AssertionError("the round does not settle")

    def is_waiting(self, name: str) -> bool:
        phase = self.board.entries[JobId(name)].phase
        return phase in {Phase.WAITING, Phase.HELD}

    def submit_round(self, step: Json, default: Json) -> None:
        """The jobs that one of Armada's rounds submits."""
        for name in step.get("cordon", ()):
            self.board.set_open(NodeName(name), False)
        base = {**default, "request": step.get("request", default.get("request", 1))}
        for queue, count in step.get("submit", {}).items():
            priority = step.get("priority", default.get("priority", 0))
            priority = priority[queue] if isinstance(priority, dict) else priority
            for _ in range(count):
                self.put({**base, "queue": queue, "priority": priority})
        for queue, size in step.get("submit_gang", {}).items():
            self.put({**base, "queue": queue, "size": size})
        for item in step.get("submit_list", ()):
            for _ in range(item["n"]):
                self.put({**base, "priority": item["priority"]})

    def put(self, spec: Json) -> None:
        self.board.submit(replace(self.job(spec), submitted_at=float(self.count)))


@pytest.mark.parametrize("name", [n for n in CASES if "rounds" in CASES[n]["given"]])
def test_rounds(name: str) -> None:
    case = CASES[name]
    scene = Scene(case, PROFILE_OF[name])
    expected = case["expect"]["rounds"]
    for step, wanted in zip(case["given"]["rounds"], expected, strict=True):
        scene.now += 10
        scene.submit_round(step, case["given"]["job"])
        told = scene.round()
        started, evicted = told.by_queue(scene.queue_of)
        if "scheduled_by_priority" in wanted:
            counts = Counter(str(entry.job.priority) for entry in told.started)
            assert dict(counts) == wanted["scheduled_by_priority"]
            continue
        assert dict(started) == wanted["scheduled"]
        assert dict(evicted) == wanted.get("preempted", {})


@pytest.mark.parametrize(
    "name", [n for n in CASES if not {"rounds", "events"} & set(CASES[n]["given"])]
)
def test_one_moment(name: str) -> None:
    case = CASES[name]
    given, expected = case["given"], case["expect"]
    scene = Scene(case, PROFILE_OF[name])
    for spec in given.get("running", ()):
        scene.seat(spec)
    arrivals = [given["incoming"]] if "incoming" in given else given.get("pending", [])
    for spec in arrivals:
        scene.board.submit(scene.job(spec))
    for spec in given.get("pending_in_order", ()):
        # A gang is complete, and so submitted, with its last member.
        if spec.get("member", spec.get("size", 1) - 1) == spec.get("size", 1) - 1:
            scene.put(spec)
    # Half gangs have some patience: first before it ends, then, if nothing happened, after.
    scene.now = 30.0
    told = scene.round()
    if not told.started and not told.evicted:
        scene.now = 100.0
        told = scene.round()
    if "evict" in expected:
        assert sorted(set(told.evicted)) == sorted(expected["evict"])
    for kept in expected.get("keep", ()):
        assert scene.board.entries[JobId(kept)].phase is Phase.RUNNING
    for pending in expected.get("pending", ()):
        assert scene.is_waiting(pending)
    named = [*expected.get("admit", ()), *expected.get("then_admit", ())]
    admitted = [item if isinstance(item, dict) else {"id": item} for item in named]
    for wanted in admitted:
        entry = scene.board.entries[JobId(wanted["id"])]
        assert entry.phase is Phase.RUNNING
        assert entry.incomplete_since is None
        assert len(entry.seats) == wanted.get("members", entry.job.members_max)
    if "admit" in expected:
        assert len(told.started) <= len(admitted)
    for word in expected.get("reason_mentions", ()):
        entry = scene.board.entries[JobId(expected["pending"][0])]
        told_why = explain(scene.board, entry.job.id, scene.now)
        assert told_why is not None
        assert word in told_why.sentence


def test_no_preemption_cascade() -> None:
    case = CASES["a17"]
    scene = Scene(case, PROFILE_OF["a17"])
    evicted: list[str] = []
    for event in case["given"]["events"]:
        scene.now = 100.0 + event["t"]
        scene.submit_round(event, {})
        evicted += scene.round().evicted
    assert [scene.queue_of[job] for job in evicted] == [case["expect"]["evict_queue"]]
    assert scene.is_waiting(evicted[0])
    # When a slot frees, the displaced job runs again and nobody else is displaced.
    scene.now += 30
    holder = next(e for e in scene.board.running.values() if e.job.queue == "B")
    scene.board.finish(holder.job.id)
    told = scene.round()
    assert [entry.job.id for entry in told.started] == evicted
    assert told.evicted == []


def test_every_case_is_run() -> None:
    assert set(PROFILE_OF) == set(CASES)
    assert len(CASES) == 23
