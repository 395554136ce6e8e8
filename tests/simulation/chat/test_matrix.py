"""Rows of the matrix of faults that need one process only; each test has the number of its row."""

import json
from typing import Any

import pytest

from support.asgi import Answer, AsgiClient
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.ledger.ports import GroupBy
from tokenyard.protocol.sse import SseEvent, SseParser
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, EVERYTHING

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": MODEL, "input": "Hi", "stream": True}
# Letters of one to four bytes, line ends and an empty line, so that cuts fall into all of them.
PIECES = ("Zwölf ", "Boxkämpfer\r\n\r\n", "data: 你好\n\n", "🙂 🧪", "\nid: 7\n", ".")
TEXT = "".join(PIECES)


def text_of(events: list[Any]) -> str:
    return "".join(event.get("delta", "") for event in events)


def stored_text(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


async def begin(yard: FakeYard, **more: Any) -> tuple[Any, Answer, str]:
    """An answer that waits after two pieces."""
    yard.upstream.script = Script(pieces=PIECES, hold_after=2)
    call = yard.client.open("POST", PATH, json_body={**ASK, **more})
    first = await call.until(lambda answer: len(answer.data()) == 6)
    return call, first, first.headers["x-response-id"]


async def ended(yard: FakeYard, response: str) -> dict[str, Any]:
    answer = await yard.client.call("GET", f"{PATH}/{response}?stream=true")
    body: dict[str, Any] = answer.data()[-1]["response"]
    return body


async def test_01_a_reset_at_every_byte_loses_nothing_and_shows_nothing_twice() -> None:
    async with open_fake_yard() as yard:
        yard.upstream.script = Script(pieces=PIECES)
        whole = await yard.client.call("POST", PATH, json_body=ASK)
        response = whole.headers["x-response-id"]
        rests: dict[str | None, list[Any]] = {}
        parser = SseParser()
        seen: list[SseEvent] = []
        for place in range(len(whole.body)):
            last = seen[-1].id if seen else None
            if last not in rests:
                told = {} if last is None else {"last-event-id": last}
                target = f"{PATH}/{response}?stream=true"
                rests[last] = (await yard.client.call("GET", target, headers=told)).data()
            # The connection broke before this byte.
            events = [json.loads(event.data) for event in seen] + rests[last]
            assert text_of(events) == TEXT
            assert [event["sequence_number"] for event in events] == list(range(len(events)))
            seen += parser.feed(whole.body[place : place + 1])
        assert len(rests) == len(whole.data())


@pytest.mark.parametrize("background", [True, False])
async def test_18_a_reader_who_goes_does_not_stop_the_answer(background: bool) -> None:
    """Nor does one who comes back: only to cancel stops it."""
    async with open_fake_yard() as yard:
        call, first, response = await begin(yard, background=background)
        await call.leave()
        back = yard.client.open("GET", f"{PATH}/{response}?stream=true&starting_after=5")
        await yard.clock.advance(40)
        await back.leave()
        assert not yard.upstream.aborted
        yard.upstream.go_on()
        assert stored_text(await ended(yard, response)) == TEXT
        assert text_of(first.data()) == "".join(PIECES[:2])


async def test_19_an_answer_that_was_stopped_does_not_grow_after_a_reload() -> None:
    async with open_fake_yard() as yard:
        made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
        call, _, response = await begin(yard, conversation=made)
        await yard.client.call("POST", f"{PATH}/{response}/cancel")
        await call.finish()
        yard.upstream.script = Script(pieces=PIECES)
        yard.upstream.go_on()
        await yard.clock.advance(60)
        assert await yard.takeover.adopt_all() == 0
        shown = "".join(PIECES[:2])
        reloaded = (await yard.client.call("GET", f"{PATH}/{response}")).json()
        assert (reloaded["status"], stored_text(reloaded)) == ("cancelled", shown)
        assert stored_text(await ended(yard, response)) == shown
        talk = (await yard.client.call("GET", f"/v1/conversations/{made}")).json()
        assert talk["active_response_id"] is None
        items = (await yard.client.call("GET", f"/v1/conversations/{made}/items")).json()["data"]
        assert [part["text"] for part in items[0]["content"]] == [shown]


@pytest.mark.parametrize("still_running", [True, False])
async def test_23_a_tab_that_slept_goes_on_or_starts_from_a_picture(still_running: bool) -> None:
    async with open_fake_yard() as yard:
        call, first, response = await begin(yard)
        await call.leave()
        if not still_running:
            yard.upstream.go_on()
            await ended(yard, response)
        await yard.clock.advance(11 * 60)
        yard.upstream.go_on()
        target = f"{PATH}/{response}?stream=true&starting_after=5"
        rest = (await yard.client.call("GET", target)).data()
        if still_running:
            assert text_of(first.data()) + text_of(rest) == TEXT
        else:
            [picture] = rest
            assert picture["type"] == "response.resync"
            assert stored_text(picture["response"]) == TEXT


async def test_29_a_key_that_ends_does_not_end_the_answer() -> None:
    """Who comes back needs one that is valid, and reads on with it."""
    async with open_fake_yard() as yard:
        owner = command_line(DEFAULT_PROJECT)
        keys = yard.identity.keys
        secret, key = await keys.create(owner, KeyTerms("short", scopes=(EVERYTHING,)))
        tab = AsgiClient(yard.gateway.app, {"authorization": f"Bearer {secret}"})
        yard.upstream.script = Script(pieces=PIECES, hold_after=2)
        call = tab.open("POST", PATH, json_body=ASK)
        first = await call.until(lambda answer: len(answer.data()) == 6)
        response = first.headers["x-response-id"]
        await keys.revoke(owner, key.id)
        target = f"{PATH}/{response}?stream=true&starting_after=5"
        refused = await tab.call("GET", target)
        assert (refused.status, refused.error["code"]) == (401, "revoked_api_key")
        fresh = yard.client.open("GET", target)
        yard.upstream.go_on()
        assert text_of((await call.finish()).data()) == TEXT
        assert text_of(first.data()[:6]) + text_of((await fresh.finish()).data()) == TEXT
        assert len(yard.upstream.calls) == 1


async def test_32_events_of_an_old_answer_never_show_in_the_one_that_replaces_it() -> None:
    async with open_fake_yard() as yard:
        made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
        call, first, old = await begin(yard, conversation=made)
        again = {**ASK, "conversation": made, "input": [], "parent_item_id": None}
        items = (await yard.client.call("GET", f"/v1/conversations/{made}/items")).json()["data"]
        again["parent_item_id"] = items[0]["id"]
        busy = await yard.client.call("POST", PATH, json_body=again)
        assert (busy.status, busy.error["code"]) == (409, "conversation_busy")
        await yard.client.call("POST", f"{PATH}/{old}/cancel")
        yard.upstream.script = Script(pieces=("Other ", "words."))
        new = await yard.client.call("POST", PATH, json_body=again)
        fresh = new.headers["x-response-id"]
        assert fresh != old
        assert text_of(new.data()) == "Other words."
        assert new.data()[0]["sequence_number"] == 0
        assert text_of((await call.finish()).data()) == "".join(PIECES[:2])
        # A place in the old log is none in the new one.
        last = [event.id for event in first.events()][-1]
        target = f"{PATH}/{fresh}?stream=true"
        wrong = await yard.client.call("GET", target, headers={"last-event-id": str(last)})
        assert (wrong.status, wrong.error["code"]) == (400, "invalid_cursor")
        totals = await yard.ledger.statements.totals(
            DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
        )
        assert [total.requests for total in totals] == [2]
