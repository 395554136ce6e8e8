"""Jobs for tests, with what matters to a test as arguments."""

from typing import Any

from tokenyard.jobs.records import Change, EventKind, JobEvent, JobRecord
from tokenyard.protocol.jobs import JobSpec
from tokenyard.vocabulary.ids import JobId, ProjectId, QueueName, UserId


def make_spec(name: str = "train", **fields: Any) -> JobSpec:
    return JobSpec(name=name, **{"command": ("true",), **fields})


def make_job(number: int = 1, *, spec: JobSpec | None = None, **fields: Any) -> JobRecord:
    given: dict[str, Any] = {
        "id": JobId(f"job_{number:04}"),
        "project": ProjectId("proj_a"),
        "user": UserId("user_a"),
        "key": None,
        "spec": spec or make_spec(),
        "queue": QueueName("default"),
        "priority": 0,
        "submitted_at": 1000.0 + number,
    }
    return JobRecord(**{**given, **fields})


def submitted(record: JobRecord) -> Change:
    return Change(record, (JobEvent(record.id, record.submitted_at, EventKind.SUBMITTED),))
