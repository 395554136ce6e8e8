"""How fast an answer came: told at its end, and still there afterwards."""

from typing import Any

from support.asgi import Answer
from support.spec import validator
from support.yards import MODEL, FakeYard
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed

PATH = "/v1/responses"
STREAM: dict[str, Any] = {"model": MODEL, "input": "Hi", "stream": True}


def timings_of(answer: Answer) -> Any:
    return answer.data()[-1]["response"].get("timings")


async def stored(yard: FakeYard, answer: Answer) -> Any:
    body = (await yard.client.call("GET", f"{PATH}/{answer.headers['x-response-id']}")).json()
    validator("response").validate(body)
    return body.get("timings")


async def answer_late(yard: FakeYard, script: Script) -> Answer:
    """The first words come after two seconds."""
    script.hold_after = 0
    yard.upstream.script = script
    call = yard.client.open("POST", PATH, json_body=STREAM)
    await call.until(lambda answer: len(answer.data()) >= 2)
    await yard.clock.advance(2)
    yard.upstream.go_on()
    return await call.finish()


async def test_what_the_last_event_told_is_told_again(yard: FakeYard) -> None:
    answer = await answer_late(yard, Script(queue_ms=1_500.25))
    timings = timings_of(answer)
    assert (timings["first_token_ms"], timings["queue_ms"]) == (2_000, 1_500.25)
    assert timings["total_ms"] >= 2_000
    assert await stored(yard, answer) == timings


async def test_a_server_that_tells_no_times_is_measured_all_the_same(yard: FakeYard) -> None:
    answer = await answer_late(yard, Script())
    assert set(timings_of(answer)) == {"first_token_ms", "total_ms"}
    assert await stored(yard, answer) == timings_of(answer)


async def test_an_answer_of_two_servers_is_timed_from_its_beginning(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)

    def heal(answer: Answer) -> bool:
        if len(answer.data()) >= 6:
            yard.upstream.script = Script(queue_ms=7.0)
        return answer.finished

    # The queue of the second one says nothing of the first token.
    answer = await call.until(heal)
    assert timings_of(answer)["first_token_ms"] == 0
    assert "queue_ms" not in timings_of(answer)


async def test_what_said_nothing_has_no_times(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."))
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    assert timings_of(answer) is None
    assert await stored(yard, answer) is None
