"""Jobs over HTTP: submitted, seen, explained, cancelled, tried again; by their own project only."""

import io
from typing import Any

import pytest

from support.asgi import AsgiClient
from support.yards import FakeYard, open_fake_yard
from tokenyard.jobs.office import make_job_office
from tokenyard.runtime.job_settings import JobSettings, QueueSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.ids import JobId

SPEC = {"name": "train", "command": ["true"], "roles": [{"gpus": 2}]}


async def submit(yard: FakeYard, **fields: Any) -> str:
    answer = await yard.client.call("POST", "/api/jobs", json_body={**SPEC, **fields})
    assert answer.status == 200, answer.body
    return str(answer.json()["data"][0]["id"])


async def cycle(yard: FakeYard, seconds: float = 0.0) -> None:
    await yard.jobs.scheduler.tick()
    if seconds:
        await yard.clock.advance(seconds)
        await yard.jobs.scheduler.tick()


async def get(yard: FakeYard, path: str, status: int = 200) -> Any:
    answer = await yard.client.call("GET", path)
    assert answer.status == status, answer.body
    return answer.json()


async def test_a_job_from_submission_to_its_end(yard: FakeYard) -> None:
    job = await submit(yard, labels={"team": "a"})
    assert (await get(yard, f"/api/jobs/{job}"))["state"] == "queued"
    await cycle(yard, 1.0)
    told = await get(yard, f"/api/jobs/{job}")
    assert told["state"] == "running"
    assert told["seats"] == [{"rank": 0, "role": "worker", "node": "n0", "gpus": [0, 1]}]
    assert told["spec"]["command"] == ["true"]
    await cycle(yard, 11.0)
    told = await get(yard, f"/api/jobs/{job}")
    assert (told["state"], told["exit_status"]) == ("succeeded", 0)
    timeline = await get(yard, f"/api/jobs/{job}/timeline")
    kinds = [event["kind"] for event in timeline["events"]]
    assert kinds == ["submitted", "launched", "running", "succeeded"]
    assert timeline["attempts"][0]["ended_at"] is not None
    log = await get(yard, f"/api/jobs/{job}/logs")
    assert log["text"] == f"{job} attempt 1 rank 0\n"
    rest = await get(yard, f"/api/jobs/{job}/logs?offset={log['next_offset']}")
    assert (rest["text"], rest["ended"]) == ("", True)


async def test_a_followed_log_ends_with_the_job(yard: FakeYard) -> None:
    job = await submit(yard)
    await cycle(yard, 1.0)
    call = yard.client.open("GET", f"/api/jobs/{job}/logs?follow=true")
    await yard.clock.settle()
    await cycle(yard, 11.0)
    await yard.clock.advance(1.0)
    answer = await call.finish()
    pieces = answer.data()
    assert pieces[0]["text"] == f"{job} attempt 1 rank 0\n"
    assert pieces[-1]["ended"]


async def test_lists_are_filtered_and_paged(yard: FakeYard) -> None:
    made = []
    for number in range(3):
        made.append(await submit(yard, name=f"job-{number}", type="training"))
        await yard.clock.advance(1.0)
    page = await get(yard, "/api/jobs?limit=2&type=training")
    assert [job["id"] for job in page["data"]] == made[:0:-1]
    assert page["has_more"]
    rest = await get(yard, f"/api/jobs?after={page['last_id']}")
    assert [job["id"] for job in rest["data"]] == made[:1]
    assert (await get(yard, "/api/jobs?state=running,dead"))["data"] == []
    assert len((await get(yard, "/api/jobs?name=job-1"))["data"]) == 1
    wrong = await get(yard, "/api/jobs?state=asleep", 400)
    assert wrong["error"]["param"] == "state"
    assert (await get(yard, "/api/jobs?after=job_none", 400))["error"]["code"] == "invalid_cursor"


async def test_an_array_is_many_jobs_in_order(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", "/api/jobs", json_body={**SPEC, "array": 3})
    jobs = answer.json()["data"]
    assert [job["array_index"] for job in jobs] == [0, 1, 2]
    await cycle(yard, 1.0)
    states = [(await get(yard, f"/api/jobs/{job['id']}"))["state"] for job in jobs]
    assert states == ["running", "running", "queued"]


async def test_a_waiting_job_is_explained(yard: FakeYard) -> None:
    first = await submit(yard, roles=[{"gpus": 3}], estimate_seconds=10.0)
    await cycle(yard, 1.0)
    job = await submit(yard, roles=[{"gpus": 2}])
    await cycle(yard)
    told = await get(yard, f"/api/jobs/{job}/explain")
    assert told["reason"] == "insufficient_resources"
    assert "Too little is free" in told["sentence"]
    assert told["evidence"]["gpus_free"] == 1.0
    assert told["predicted_start"] == pytest.approx(yard.clock.now() + 9.0, abs=0.5)
    assert told["what_if"] == ["with 1 fewer GPU per node it would start now"]
    assert told["changes"] == [{"kind": "fewer_gpus", "count": 1, "name": "worker"}]
    # The list of jobs has the same numbers.
    assert (await get(yard, f"/api/jobs/{job}"))["evidence"] == told["evidence"]
    running = await get(yard, f"/api/jobs/{first}/explain")
    assert (running["reason"], running["state"]) == (None, "running")


async def test_a_server_that_does_not_lead_knows_why_too(yard: FakeYard) -> None:
    other = make_job_office(
        JobSettings(), store=yard.store.jobs, executors=[], on_loopback=True,
        clock=yard.clock, randomness=SeededRandomness(5), log=Log(io.StringIO(), yard.clock),
    )  # fmt: skip
    await submit(yard, roles=[{"gpus": 4}])
    await cycle(yard, 1.0)
    waits = JobId(await submit(yard, roles=[{"gpus": 4}]))
    await cycle(yard)
    assert not await other.scheduler.tick()
    record = await yard.store.jobs.find_job(waits, None)
    assert record is not None
    why = other.queue.insight.why(record)
    assert why is not None
    assert why.reason == "insufficient_resources"
    assert other.scheduler.roster.board.cluster.gpu_free == 0


async def test_cancel_retry_and_priority(yard: FakeYard) -> None:
    runs, waits = await submit(yard, roles=[{"gpus": 4}]), ""
    await cycle(yard, 1.0)
    waits = await submit(yard, roles=[{"gpus": 4}])
    call = yard.client.call
    answer = await call("POST", f"/api/jobs/{waits}/priority", json_body={"priority": "high"})
    assert answer.json()["priority"] == 100
    answer = await call("POST", f"/api/jobs/{waits}/priority", json_body={"priority": "higher"})
    assert (answer.status, answer.error["param"]) == (400, "priority")
    assert (await call("POST", f"/api/jobs/{waits}/cancel")).json()["state"] == "cancelled"
    assert (await call("POST", f"/api/jobs/{waits}/cancel")).error["code"] == "job_ended"
    assert (await call("POST", f"/api/jobs/{waits}/retry")).status == 409
    assert (await call("POST", f"/api/jobs/{runs}/cancel")).json()["state"] == "running"
    await cycle(yard, 1.0)
    assert (await get(yard, f"/api/jobs/{runs}"))["state"] == "cancelled"


async def test_a_failed_job_is_tried_again_by_hand(yard: FakeYard) -> None:
    gone = await submit(yard)
    await yard.client.call("POST", f"/api/jobs/{gone}/cancel")
    job = await submit(yard, after=[gone])
    await cycle(yard)
    told = await get(yard, f"/api/jobs/{job}")
    assert (told["state"], told["reason"]) == ("failed", "dependency_failed")
    answer = await yard.client.call("POST", f"/api/jobs/{job}/retry")
    assert (answer.status, answer.json()["state"]) == (200, "held")
    await cycle(yard)
    assert (await get(yard, f"/api/jobs/{job}"))["reason"] == "dependency_failed"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"command": []}, "command"),
        ({"queue": "nowhere"}, "queue"),
        ({"priority": "first"}, "priority"),
        ({"roles": [{"replicas": 0}]}, "roles"),
        ({"roles": [{"gpus": 2, "gpu_milli": 500}]}, "gpu_milli"),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "roles"),
        ({"array": 20_000}, "array"),
        ({"after": ["job_none"]}, "after"),
        ({"gpus": 1}, "gpus"),
        ({"environment": {"A=B": "x"}}, "environment"),
        ({"files": {"../x": "y"}}, "files"),
    ],
)
async def test_a_bad_job_is_refused_with_its_field(
    yard: FakeYard, change: dict[str, Any], param: str
) -> None:
    answer = await yard.client.call("POST", "/api/jobs", json_body={**SPEC, **change})
    assert answer.status == 400
    assert str(answer.error["param"]).startswith(param)


async def test_strangers_and_other_projects_see_nothing(yard: FakeYard) -> None:
    job = await submit(yard)
    key = await yard.other_key()
    other = AsgiClient(yard.gateway.app, {"authorization": f"Bearer {key}"})
    for method, path in (
        ("GET", f"/api/jobs/{job}"),
        ("GET", f"/api/jobs/{job}/explain"),
        ("GET", f"/api/jobs/{job}/timeline"),
        ("GET", f"/api/jobs/{job}/logs"),
        ("GET", f"/api/jobs/{job}/logs?follow=true"),
        ("POST", f"/api/jobs/{job}/cancel"),
        ("POST", f"/api/jobs/{job}/retry"),
    ):
        assert (await other.call(method, path)).status == 404, path
        assert (await yard.stranger.call(method, path)).status == 401, path
    assert (await other.call("GET", "/api/jobs")).json()["data"] == []
    dependent = await other.call("POST", "/api/jobs", json_body={**SPEC, "after": [job]})
    assert dependent.error["param"] == "after"
    assert (await yard.stranger.call("GET", "/api/cluster")).status == 401


async def test_queues_nodes_and_history(yard: FakeYard) -> None:
    await submit(yard)
    # Of equals, the wider one would go first.
    await submit(yard, roles=[{"gpus": 4}], priority="low")
    await cycle(yard, 1.0)
    [queue] = (await get(yard, "/api/queues"))["data"]
    assert (queue["name"], queue["running"], queue["waiting"]) == ("default", 1, 1)
    assert queue["waits"]["normal"]["count"] == 1
    cluster = await get(yard, "/api/cluster")
    assert cluster["leader"]
    assert (cluster["gpus"], cluster["gpus_free"], cluster["gpus_fragmented"]) == (4, 2.0, 2.0)
    answer = await yard.client.call(
        "POST", "/api/cluster/nodes/n0", json_body={"state": "draining"}
    )
    assert answer.json()["state"] == "draining"
    await cycle(yard, 1.0)
    assert (await get(yard, "/api/cluster"))["jobs"] == {"queued": 2}
    [point, *_] = (await get(yard, "/api/cluster/history"))["data"]
    assert point["values"]["cluster/gpus"] == 4.0
    missing = await yard.client.call("POST", "/api/cluster/nodes/n9", json_body={"state": "open"})
    assert missing.status == 404
    metrics = (await yard.stranger.call("GET", "/metrics")).body.decode()
    assert 'tokenyard_jobs_queue_depth{queue="default",what="' in metrics
    assert 'tokenyard_jobs_waiting{reason="insufficient_resources"} 1.0' in metrics
    assert 'tokenyard_jobs_wait_seconds_count{priority="normal",queue="default"} 1.0' in metrics


async def test_commands_are_run_for_those_only_who_may() -> None:
    settings = Settings(jobs=JobSettings(local_execution="off"))
    async with open_fake_yard(settings) as yard:
        answer = await yard.client.call("POST", "/api/jobs", json_body=SPEC)
        assert (answer.status, answer.error["code"]) == (403, "local_execution_off")


async def test_jobs_belong_into_leaves_and_a_project_has_a_limit() -> None:
    queues = (QueueSettings(name="root"), QueueSettings(name="leaf", parent="root"))
    settings = Settings(jobs=JobSettings(queues=queues, open_jobs_max=2))
    async with open_fake_yard(settings) as yard:
        answer = await yard.client.call("POST", "/api/jobs", json_body={**SPEC, "queue": "root"})
        assert answer.error["param"] == "queue"
        for status in (200, 200, 429):
            answer = await yard.client.call(
                "POST", "/api/jobs", json_body={**SPEC, "queue": "leaf"}
            )
            assert answer.status == status
        assert answer.error["code"] == "queued_jobs_limit"


async def test_the_why_column_and_the_gpus_of_a_node(yard: FakeYard) -> None:
    runs = await submit(yard, roles=[{"gpus": 3}])
    await cycle(yard, 1.0)
    waits = await submit(yard, name="large one", roles=[{"gpus": 4}], priority="high",
                         preemptible=False)  # fmt: skip
    await cycle(yard)
    told = {job["id"]: job for job in (await get(yard, "/api/jobs"))["data"]}
    assert told[runs]["why"] is None
    assert told[waits]["priority_class"] == "high"
    assert told[waits]["why"]
    node = (await get(yard, "/api/cluster"))["nodes"][0]
    assert [gpu["jobs"] for gpu in node["devices"]] == [[runs], [runs], [runs], []]
    assert [gpu["free"] for gpu in node["devices"]] == [0, 0, 0, 1]
    found = (await get(yard, "/api/jobs?search=LARGE"))["data"]
    assert [job["id"] for job in found] == [waits]
    assert (await get(yard, "/api/jobs?search=100%25"))["data"] == []


async def test_job_files_are_checked_with_lines(yard: FakeYard) -> None:
    samples = (await get(yard, "/api/job-files/samples"))["data"]
    call = yard.client.call
    for sample in samples:
        answer = await call("POST", "/api/job-files/check", json_body={"text": sample["text"]})
        assert answer.json()["mistake"] is None
        made = await call("POST", "/api/jobs", json_body=answer.json()["spec"])
        assert made.status == 200, made.body
    body = {"text": "name: a\ncommand: [x]\nroles:\n  - gpsu: 1\n"}
    told = (await call("POST", "/api/job-files/check", json_body=body)).json()
    assert (told["spec"], told["mistake"]["line"]) == (None, 4)
    body = {"text": "name: a\ncommand: [x]\nqueue: nowhere\n"}
    told = (await call("POST", "/api/job-files/check", json_body=body)).json()
    assert told["mistake"]["param"] == "queue"
    body = {"text": "#" * 70_000}
    assert (await call("POST", "/api/job-files/check", json_body=body)).json()["mistake"]


async def test_the_end_of_a_log_and_a_part_of_the_history(yard: FakeYard) -> None:
    job = await submit(yard)
    await cycle(yard, 1.0)
    told = await get(yard, f"/api/jobs/{job}/logs?tail=7")
    assert told["text"] == "rank 0\n"
    points = (await get(yard, "/api/cluster/history?names=cluster/gpus,wait/"))["data"]
    assert points
    assert all(name.startswith(("cluster/gpus", "wait/")) for p in points for name in p["values"])
