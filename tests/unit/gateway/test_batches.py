"""Batches through the whole gateway, over a scripted model server and simulated time."""

import json
from typing import Any

import pytest

from support import batches
from support.batches import create, get, jsonl, line, read, until
from support.spec import validator
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.jobs.batches import folder
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import BatchSettings, Settings
from tokenyard.upstreams.ports import Health
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import InvalidRequest, Unavailable, UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, DEFAULT_USER, Principal
from tokenyard.vocabulary.reasons import Reason

PRICES = (PriceSettings(model=MODEL, input="2", cached_input="0.5", output="10"),)


async def billed(yard: FakeYard) -> tuple[int, int]:
    """Rows and nanos in the ledger."""
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return (sum(t.requests for t in totals), sum(t.cost.nanos for t in totals))


async def test_a_batch_is_run_written_down_and_billed_at_half_price() -> None:
    async with open_fake_yard(Settings(ledger=LedgerSettings(prices=PRICES))) as yard:
        yard.upstream.script = Script(prompt_tokens=10, cached_tokens=4)
        made = await create(yard, jsonl([line(n) for n in range(20)]), metadata={"run": "1"})
        validator("batch").validate(made)
        assert (made["status"], made["metadata"]) == ("validating", {"run": "1"})
        ended = await until(yard, made)
        validator("batch").validate(ended)
        assert ended["status"] == "completed"
        assert ended["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
        assert ended["usage"]["input_tokens"] == 200
        assert ended["usage"]["input_tokens_details"]["cached_tokens"] == 80
        assert ended["usage"]["output_tokens"] == 80
        assert ended["model"] == MODEL
        assert "error_file_id" not in ended
        stamps = [
            ended[name]
            for name in ("created_at", "in_progress_at", "finalizing_at", "completed_at")
        ]
        assert stamps == sorted(stamps)
        assert ended["expires_at"] == ended["created_at"] + 86_400
        lines = await read(yard, ended["output_file_id"])
        assert [one["custom_id"] for one in lines] == [f"line-{n}" for n in range(20)]
        assert len({one["id"] for one in lines}) == 20
        for one in lines:
            assert one["error"] is None
            assert one["response"]["status_code"] == 200
            assert one["response"]["request_id"].startswith("req_")
            body = one["response"]["body"]
            validator("chat").validate(body)
            assert body["choices"][0]["message"]["content"] == "Hello, world."
            # Half of 6 at $2, 4 at $0.50 and 4 at $10 per million.
            assert body["cost"] == {
                "nanos": (6 * 2000 + 4 * 500 + 4 * 10_000) // 2,
                "currency": "USD",
            }
        assert await billed(yard) == (20, 20 * 27_000)
        output = (await yard.client.call("GET", f"/v1/files/{ended['output_file_id']}")).json()
        validator("file").validate(output)
        assert output["purpose"] == "batch_output"


async def test_lines_are_sent_behind_all_others_and_no_wider_than_allowed() -> None:
    settings = Settings(batches=BatchSettings(lines_in_flight_max=3, priority=7))
    async with open_fake_yard(settings) as yard:
        yard.upstream.script = Script(hold_after=0)
        made = await create(yard, jsonl([line(n, body={"max_tokens": 5}) for n in range(9)]))
        await until(yard, made, "in_progress")
        await yard.clock.advance(5)
        assert len(yard.upstream.calls) == 3
        assert b"tokenyard_gateway_batch_lines_running 3.0" in yard.metrics.render()
        yard.upstream.go_on()
        await until(yard, made)
        assert len(yard.upstream.calls) == 9
        sent = json.loads(yard.upstream.calls[0].body)
        assert sent == {**line(0)["body"], "max_tokens": 5, "priority": 7}
        assert yard.upstream.calls[0].seconds_max == settings.batches.line_seconds_max


async def test_no_priority_is_sent_where_none_is_wanted() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(priority=0))) as yard:
        await until(yard, await create(yard, jsonl([line(1)])))
        assert json.loads(yard.upstream.calls[0].body) == line(1)["body"]


BAD_LINES: list[tuple[bytes, str, str | None]] = [
    (b"{", "invalid_json", None),
    (b'"x"', "invalid_value", None),
    (jsonl([line(1, custom_id="")]), "invalid_value", "custom_id"),
    (jsonl([{**line(1), "custom_id": None}]), "invalid_value", "custom_id"),
    (jsonl([{k: v for k, v in line(1).items() if k != "custom_id"}]), "invalid_value", "custom_id"),
    (jsonl([line(1, method="GET")]), "invalid_value", "method"),
    (jsonl([line(1, url="/v1/completions")]), "mismatched_url", "url"),
    (jsonl([line(1, url="/v1/embeddings")]), "mismatched_url", "url"),
    (jsonl([line(1, extra=1)]), "unknown_parameter", "extra"),
    (jsonl([line(1, body={"messages": []})]), "invalid_value", "body.messages"),
    (jsonl([line(1, body={"temperature": 3})]), "invalid_value", "body.temperature"),
    (jsonl([line(1, body={"wisdom": 1})]), "unknown_parameter", "body.wisdom"),
    (jsonl([line(1, body={"stream": True})]), "unsupported_parameter", "body.stream"),
    (jsonl([line(1, body={"priority": 1})]), "unknown_parameter", "body.priority"),
    (
        jsonl([line(1, body={"stream_options": {"include_usage": True}})]),
        "invalid_value",
        "body.stream_options",
    ),
    (b'{"custom_id":"' + b"x" * 5000 + b'"}', "line_too_long", None),
    (jsonl([line(0)]), "duplicate_custom_id", "custom_id"),
    (jsonl([line(1, body={"model": "other"})]), "mismatched_model", "body.model"),
]


@pytest.mark.parametrize(("bad", "code", "param"), BAD_LINES)
async def test_a_bad_line_fails_the_batch_by_its_number(
    bad: bytes, code: str, param: str | None
) -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(line_bytes_max=1000))) as yard:
        made = await create(yard, jsonl([line(0)]) + b"\n" + bad.rstrip(b"\n") + b"\n")
        ended = await until(yard, made)
        validator("batch").validate(ended)
        assert ended["status"] == "failed"
        assert ended["failed_at"] >= ended["created_at"]
        (error,) = ended["errors"]["data"]
        assert (error["code"], error["param"], error["line"]) == (code, param, 3)
        assert not yard.upstream.calls
        assert "output_file_id" not in ended


async def test_faults_are_listed_up_to_the_limit() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(errors_max=3))) as yard:
        ended = await until(yard, await create(yard, b"{\n" * 10))
        assert [error["line"] for error in ended["errors"]["data"]] == [1, 2, 3]


async def test_the_number_of_lines_is_bounded() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(lines_max=2))) as yard:
        ended = await until(yard, await create(yard, jsonl([line(n) for n in range(2)])))
        assert ended["status"] == "completed"
        ended = await until(yard, await create(yard, jsonl([line(n) for n in range(9)])))
        (error,) = ended["errors"]["data"]
        assert (error["code"], error["line"]) == ("too_many_lines", 3)


@pytest.mark.parametrize("data", [b"", b"\n \n"])
async def test_a_file_without_requests_is_refused(yard: FakeYard, data: bytes) -> None:
    ended = await until(yard, await create(yard, data))
    assert [error["code"] for error in ended["errors"]["data"]] == ["empty_file"]


async def test_an_unknown_model_is_refused(yard: FakeYard) -> None:
    ended = await until(yard, await create(yard, jsonl([line(1, body={"model": "gpt-9"})])))
    (error,) = ended["errors"]["data"]
    assert (error["code"], error["param"]) == ("model_not_found", "body.model")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        ({"endpoint": "/v1/responses"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file_none"}, 404, "file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
            400,
            "output_expires_after",
        ),
        ({"wisdom": 1}, 400, "wisdom"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_by_name(
    yard: FakeYard, change: dict[str, Any], status: int, param: str
) -> None:
    file = (await batches.upload(yard.client, jsonl([line(1)]))).json()["id"]
    asked = {"input_file_id": file, "endpoint": batches.CHAT, "completion_window": "24h"}
    answer = await yard.client.call("POST", "/v1/batches", json_body={**asked, **change})
    assert answer.status == status
    assert answer.error["param"].startswith(param)
    validator("error").validate(answer.json())


async def test_only_files_for_batches_are_run(yard: FakeYard) -> None:
    file = (await batches.upload(yard.client, b"x", purpose="user_data")).json()["id"]
    asked = {"input_file_id": file, "endpoint": batches.CHAT, "completion_window": "24h"}
    answer = await yard.client.call("POST", "/v1/batches", json_body=asked)
    assert (answer.status, answer.error["param"]) == (400, "input_file_id")


async def test_what_a_server_refuses_is_in_the_error_file(yard: FakeYard) -> None:
    yard.upstream.script = Script(
        refuse=InvalidRequest("Too long.", reason=Reason.CONTEXT_LENGTH_EXCEEDED, param="messages")
    )
    ended = await until(yard, await create(yard, jsonl([line(n) for n in range(3)])))
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    assert "output_file_id" not in ended
    for one in await read(yard, ended["error_file_id"]):
        assert one["error"] is None
        assert one["response"]["status_code"] == 400
        assert one["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert await billed(yard) == (0, 0)
    assert len(yard.upstream.calls) == 3


async def test_a_line_that_breaks_servers_is_tried_a_few_times(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It broke off."), break_after=1)
    ended = await until(yard, await create(yard, jsonl([line(1)])))
    (one,) = await read(yard, ended["error_file_id"])
    assert one["response"]["status_code"] == 502
    assert one["response"]["body"]["error"]["code"] == "upstream_failed"
    assert len(yard.upstream.calls) == 3
    assert await billed(yard) == (0, 0)


async def test_a_full_server_is_left_alone_for_the_time_it_names(yard: FakeYard) -> None:
    yard.upstream.script = Script(
        refuse=Unavailable("Full.", reason=Reason.QUEUE_FULL, retry_after_seconds=20)
    )
    made = await create(yard, jsonl([line(n) for n in range(30)]))
    await until(yard, made, "in_progress")
    await yard.clock.advance(19)
    assert len(yard.upstream.calls) == 8
    await yard.clock.advance(2)
    # Half as many as before.
    assert len(yard.upstream.calls) == 12
    yard.upstream.script = Script()
    ended = await until(yard, made)
    assert ended["request_counts"]["completed"] == 30
    assert await billed(yard) == (30, 0)
    assert b'batch_yields_total{reason="queue_full"} 12.0' in yard.metrics.render()


async def test_lines_wait_for_a_model_that_is_away(yard: FakeYard) -> None:
    yard.upstream.reported_health = Health.DOWN
    await yard.clock.advance(2)
    made = await create(yard, jsonl([line(1)]))
    await until(yard, made, "in_progress")
    await yard.clock.advance(300)
    assert (await get(yard, made))["status"] == "in_progress"
    yard.upstream.reported_health = Health.READY
    # However long it was away, its lines begin soon after it is back.
    await yard.clock.advance(4)
    ended = await get(yard, made)
    assert ended["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


async def test_an_interactive_answer_sends_the_youngest_lines_away(yard: FakeYard) -> None:
    """The stated bound: after `yield_seconds` no more than `lines_beside_interactive` run."""
    yard.upstream.script = Script(hold_after=0)
    made = await create(yard, jsonl([line(n) for n in range(8)]))
    await until(yard, made, "in_progress")
    await yard.clock.advance(1)
    lease = await yard.admission.enter(Principal(DEFAULT_USER, DEFAULT_PROJECT, None))
    await yard.clock.advance(1.9)
    assert running(yard) == 8
    await yard.clock.advance(0.5)
    assert running(yard) == 1
    await yard.clock.advance(60)
    assert running(yard) == 1
    assert len(yard.upstream.calls) == 8
    lease.release()
    await yard.clock.advance(4.5)
    assert running(yard) == 1, "the next question may come in a moment"
    await yard.clock.advance(1)
    assert running(yard) == 8
    assert len(yard.upstream.calls) == 15
    yard.upstream.go_on()
    ended = await until(yard, made)
    assert ended["request_counts"]["completed"] == 8
    assert (await billed(yard))[0] == 8
    assert b'batch_yields_total{reason="yielded"} 7.0' in yard.metrics.render()


async def test_cancelling_keeps_what_has_ended() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(lines_in_flight_max=1))) as yard:
        made = await create(yard, jsonl([line(n) for n in range(50)]))
        while (await get(yard, made))["request_counts"]["completed"] < 5:
            await yard.clock.settle(1)
        yard.upstream.script = Script(hold_after=0)
        await yard.clock.advance(1)
        answer = await yard.client.call("POST", f"/v1/batches/{made['id']}/cancel")
        assert answer.status == 200
        validator("batch_cancel").validate(answer.json())
        assert answer.json()["status"] in ("cancelling", "cancelled")
        ended = await until(yard, made, "cancelled")
        done = ended["request_counts"]["completed"]
        assert 5 <= done < 50
        assert ended["cancelling_at"] <= ended["cancelled_at"]
        finished = await read(yard, ended["output_file_id"])
        left_out = await read(yard, ended["error_file_id"])
        assert (len(finished), len(left_out)) == (done, 50 - done)
        assert {one["error"]["code"] for one in left_out} == {"batch_cancelled"}
        assert {one["custom_id"] for one in finished + left_out} == {f"line-{n}" for n in range(50)}
        assert (await billed(yard))[0] == done
        again = await yard.client.call("POST", f"/v1/batches/{made['id']}/cancel")
        assert (again.status, again.error["code"]) == (409, "batch_ended")


async def test_a_window_that_ends_gives_what_there_is() -> None:
    settings = Settings(batches=BatchSettings(window_seconds=100, lines_in_flight_max=2))
    async with open_fake_yard(settings) as yard:
        made = await create(yard, jsonl([line(n) for n in range(6)]))
        while (await get(yard, made))["request_counts"]["completed"] < 2:
            await yard.clock.settle(1)
        yard.upstream.script = Script(hold_after=0)
        await yard.clock.advance(99)
        assert (await get(yard, made))["status"] == "in_progress"
        await yard.clock.advance(1.5)
        ended = await get(yard, made)
        assert ended["status"] == "expired"
        assert ended["expired_at"] >= ended["expires_at"]
        done = ended["request_counts"]["completed"]
        left_out = await read(yard, ended["error_file_id"])
        assert len(left_out) == 6 - done
        assert all(
            one["response"] is None and one["error"]["code"] == "batch_expired" for one in left_out
        )
        assert len(await read(yard, ended["output_file_id"])) == done
        assert (await billed(yard))[0] == done


async def test_a_spent_budget_stops_a_batch_by_name() -> None:
    """A line costs 40,000 nanos; the budget holds five of them."""
    prices = (PriceSettings(model=MODEL, input="0", cached_input="0", output="20"),)
    ledger = LedgerSettings(prices=prices, monthly_budget="0.000215")
    async with open_fake_yard(Settings(ledger=ledger)) as yard:
        data = jsonl([line(n, body={"max_tokens": 4}) for n in range(12)])
        made = await create(yard, data)
        ended = await until(yard, made)
        assert ended["status"] == "completed"
        assert ended["request_counts"] == {"total": 12, "completed": 5, "failed": 7}
        assert [error["code"] for error in ended["errors"]["data"]] == ["insufficient_quota"]
        left_out = await read(yard, ended["error_file_id"])
        assert [one["error"]["code"] for one in left_out] == ["insufficient_quota"] * 7
        assert len(await read(yard, ended["output_file_id"])) == 5
        assert await billed(yard) == (5, 200_000)
        assert len(yard.upstream.calls) == 5


async def test_batches_take_turns() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(lines_in_flight_max=2))) as yard:
        first = await create(yard, jsonl([line(n) for n in range(200)]))
        second = await create(yard, jsonl([line(n) for n in range(10)]))
        await until(yard, second, "completed")
        assert (await get(yard, first))["request_counts"]["completed"] < 60
        await until(yard, first, "completed")


async def test_open_batches_are_limited_and_listed() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(open_max=2))) as yard:
        yard.upstream.script = Script(hold_after=0)
        made = []
        for _ in range(2):
            made.append((await create(yard, jsonl([line(1)])))["id"])
            await yard.clock.advance(1)
        file = (await batches.upload(yard.client, jsonl([line(1)]))).json()["id"]
        asked = {"input_file_id": file, "endpoint": batches.CHAT, "completion_window": "24h"}
        denied = await yard.client.call("POST", "/v1/batches", json_body=asked)
        assert (denied.status, denied.error["code"]) == (429, "open_batches_limit")
        listed = (await yard.client.call("GET", "/v1/batches?limit=1")).json()
        validator("batches").validate(listed)
        assert ([one["id"] for one in listed["data"]], listed["has_more"]) == ([made[1]], True)
        page = (await yard.client.call("GET", f"/v1/batches?after={made[1]}")).json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[0]], False)
        bad = await yard.client.call("GET", "/v1/batches?after=batch_none")
        assert (bad.status, bad.error["code"]) == (400, "invalid_cursor")
        in_use = await yard.client.call("DELETE", f"/v1/files/{listed['data'][0]['input_file_id']}")
        assert (in_use.status, in_use.error["code"]) == (409, "file_in_use")
        text = yard.metrics.render()
        assert b'tokenyard_gateway_batches{status="in_progress"} 2.0' in text
        assert b"tokenyard_gateway_batch_queue_age_seconds 2.0" in text


async def test_another_project_sees_nothing(yard: FakeYard) -> None:
    made = await create(yard, jsonl([line(1)]))
    await until(yard, made)
    secret = await yard.other_key()
    theirs = {"authorization": f"Bearer {secret}"}
    for method, target in (
        ("GET", f"/v1/batches/{made['id']}"),
        ("POST", f"/v1/batches/{made['id']}/cancel"),
        ("GET", f"/v1/files/{made['input_file_id']}"),
        ("GET", f"/v1/files/{made['input_file_id']}/content"),
        ("DELETE", f"/v1/files/{made['input_file_id']}"),
    ):
        answer = await yard.client.call(method, target, headers=theirs)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    asked = {
        "input_file_id": made["input_file_id"],
        "endpoint": batches.CHAT,
        "completion_window": "24h",
    }
    answer = await yard.client.call("POST", "/v1/batches", json_body=asked, headers=theirs)
    assert answer.status == 404
    for target in ("/v1/batches", "/v1/files"):
        listed = (await yard.client.call("GET", target, headers=theirs)).json()
        assert listed["data"] == []
    assert (await yard.stranger.call("GET", "/v1/batches")).status == 401


async def test_output_files_are_kept_as_long_as_asked(yard: FakeYard) -> None:
    kept = {"anchor": "created_at", "seconds": 3600}
    ended = await until(yard, await create(yard, jsonl([line(1)]), output_expires_after=kept))
    output = f"/v1/files/{ended['output_file_id']}"
    told = (await yard.client.call("GET", output)).json()
    validator("file").validate(told)
    assert told["expires_at"] == told["created_at"] + 3600
    await yard.clock.advance(3601)
    assert (await yard.client.call("GET", output)).status == 404
    await yard.clock.advance(60)
    assert ended["output_file_id"] not in await yard.store.batches.file_ids()


async def test_an_input_that_is_gone_from_the_disk_is_said(yard: FakeYard) -> None:
    file = (await batches.upload(yard.client, jsonl([line(1)]))).json()["id"]
    (yard.folder / "files" / file).unlink()
    asked = {"input_file_id": file, "endpoint": batches.CHAT, "completion_window": "24h"}
    made = (await yard.client.call("POST", "/v1/batches", json_body=asked)).json()
    ended = await until(yard, made)
    assert ended["status"] == "failed"
    assert [error["code"] for error in ended["errors"]["data"]] == ["file_lost"]
    content = await yard.client.call("GET", f"/v1/files/{file}/content")
    assert (content.status, content.error["code"]) == (404, "file_lost")


@pytest.mark.parametrize("loss", ["gone", "other bytes"])
async def test_an_input_that_is_lost_half_way_ends_the_batch_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    monkeypatch.setattr(folder, "PORTION_BYTES", 10)
    async with open_fake_yard(Settings(batches=BatchSettings(lines_in_flight_max=1))) as yard:
        yard.upstream.script = Script(hold_after=0)
        made = await create(yard, jsonl([line(n) for n in range(3)]))
        await until(yard, made, "in_progress")
        await yard.clock.advance(1)
        path = yard.folder / "files" / made["input_file_id"]
        if loss == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
        yard.upstream.go_on()
        ended = await until(yard, made)
        assert ended["status"] == "failed"
        assert [error["code"] for error in ended["errors"]["data"]] == ["file_lost"]
        done = ended["request_counts"]["completed"]
        assert done >= 1
        assert len(await read(yard, ended["output_file_id"])) == done
        assert "error_file_id" not in ended


async def test_a_stop_lets_lines_end_and_begins_no_more() -> None:
    async with open_fake_yard(Settings(batches=BatchSettings(lines_in_flight_max=2))) as yard:
        yard.upstream.script = Script(hold_after=0)
        made = await create(yard, jsonl([line(n) for n in range(6)]))
        await until(yard, made, "in_progress")
        await yard.clock.advance(1)
        yard.office.batches.close()
        yard.upstream.go_on()
        await yard.office.batches.drain(0.0)
        found = await get(yard, made)
        assert found["status"] == "in_progress"
        assert len(yard.upstream.calls) == 2
        asked = {
            "input_file_id": made["input_file_id"],
            "endpoint": batches.CHAT,
            "completion_window": "24h",
        }
        denied = await yard.client.call("POST", "/v1/batches", json_body=asked)
        assert (denied.status, denied.error["code"]) == (503, "shutting_down")


def running(yard: FakeYard) -> int:
    for text in yard.metrics.render().decode().splitlines():
        if text.startswith("tokenyard_gateway_batch_lines_running "):
            return int(float(text.split()[1]))
    raise AssertionError("there is no such metric")
