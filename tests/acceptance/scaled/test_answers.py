"""An answer survives its gateway: it goes on elsewhere, without a seam, and is billed once."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from acceptance.scaled.conftest import GATEWAYS, ScaledYard
from acceptance.yard import wait_until
from support.scripted_engine import MODEL, TEXT

Event = dict[str, Any]

_MANY = 100


def events_of(
    scaled: ScaledYard, method: str, path: str, body: object = None, base: str | None = None
) -> Iterator[Event]:
    """Events until the stream ends or breaks."""
    parts = urlsplit(base or scaled.yard.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {
        "authorization": f"Bearer {scaled.yard.api_key}",
        "content-type": "application/json",
        "accept": "text/event-stream",
    }
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status == 204:
        return
    assert answer.status == 200, answer.read()
    try:
        while line := answer.readline():
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def text_of(events: list[Event]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


def bills_of(scaled: ScaledYard, response: str) -> list[tuple[int, int]]:
    """Prompt and answer tokens of each bill of a response."""
    stores = json.loads((scaled.yard.home / "run" / "stores.json").read_text())
    with psycopg.connect(stores["TOKENYARD_STORAGE__DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT prompt_tokens, completion_tokens FROM usage_rows WHERE id = %s", [response]
        ).fetchall()
    return [(int(prompt), int(answer)) for prompt, answer in found]


def start_answer(scaled: ScaledYard, gateway: int) -> tuple[str, list[Event], Iterator[Event]]:
    """An answer in progress at that gateway: its id, its first events, and the others."""
    body = {"model": MODEL, "input": "Say something long.", "stream": True, "background": True}
    stream = events_of(scaled, "POST", "/v1/responses", body, scaled.gateways[gateway])
    seen = [next(stream)]
    while len(text_of(seen)) < 40:
        seen.append(next(stream))
    return seen[0]["response"]["id"], seen, stream


def read_on(scaled: ScaledYard, response: str, seen: list[Event], seconds_max: float) -> float:
    """Read on through nginx, as a client does, until the end; when the first new event came."""
    began, first = time.monotonic(), 0.0
    while seen[-1]["type"] not in {"response.completed", "response.failed"}:
        assert time.monotonic() - began < seconds_max, seen[-1]
        after = seen[-1]["sequence_number"]
        path = f"/v1/responses/{response}?stream=true&starting_after={after}"
        try:
            for event in events_of(scaled, "GET", path):
                first = first or time.monotonic()
                seen.append(event)
        except (AssertionError, OSError):
            # nginx answers 502 in the moment in which it finds out.
            time.sleep(0.05)
    return first


def check_whole(scaled: ScaledYard, response: str, seen: list[Event]) -> None:
    numbers = [event["sequence_number"] for event in seen]
    assert numbers == list(range(len(numbers)))
    assert seen[-1]["type"] == "response.completed"
    assert text_of(seen) == TEXT
    wait_until(lambda: bills_of(scaled, response), 10, "the bill")
    ((_, answered),) = bills_of(scaled, response)
    usage = seen[-1]["response"]["usage"]
    assert answered == usage["output_tokens"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_an_answer_goes_on_when_its_gateway_is_gone(
    scaled: ScaledYard, how: signal.Signals
) -> None:
    """Rows 12, 13 and 26 of the failure matrix."""
    scaled.wait_until_whole()
    response, seen, stream = start_answer(scaled, 1)
    os.kill(scaled.gateway_pid(1), how)
    left = time.monotonic()
    if how is signal.SIGTERM:
        # Handed over or finished, but never lost: what still comes is read.
        seen += list(stream)
    first = read_on(scaled, response, seen, 60)
    check_whole(scaled, response, seen)
    if how is signal.SIGKILL:
        assert first - left < 30
    scaled.wait_until_whole()


def test_a_hundred_answers_survive_a_rolling_restart(scaled: ScaledYard) -> None:
    """Row 26: all gateways, one after the other, with every answer read through nginx."""
    scaled.wait_until_whole()
    begun = threading.Semaphore(0)

    def ask_and_read(number: int) -> tuple[str, list[Event]]:
        body = {"model": MODEL, "input": f"Answer {number}.", "stream": True, "background": True}
        stream = events_of(scaled, "POST", "/v1/responses", body)
        seen = [next(stream)]
        begun.release()
        seen += stream
        response = seen[0]["response"]["id"]
        read_on(scaled, response, seen, 120)
        return response, seen

    with ThreadPoolExecutor(_MANY) as readers:
        answers = [readers.submit(ask_and_read, number) for number in range(_MANY)]
        assert all(begun.acquire(timeout=30) for _ in range(_MANY // 2))
        for number in range(GATEWAYS):
            before = scaled.gateway_pid(number)
            os.kill(before, signal.SIGTERM)
            wait_until(lambda gone=before: gone not in scaled.yard.processes(), 60, "its end")
            scaled.wait_until_whole()
        told = [answer.result() for answer in answers]
    assert len({response for response, _ in told}) == _MANY
    for response, seen in told:
        check_whole(scaled, response, seen)


def test_an_answer_that_is_cancelled_at_another_gateway_ends(scaled: ScaledYard) -> None:
    scaled.wait_until_whole()
    response, seen, stream = start_answer(scaled, 0)
    path = f"/v1/responses/{response}/cancel"
    told = scaled.yard.request("POST", path, {}, base=scaled.gateways[2])
    assert told.status == 200, told.body
    seen += list(stream)
    assert seen[-1]["response"]["status"] == "cancelled"
    assert TEXT.startswith(text_of(seen))
    assert len(text_of(seen)) < len(TEXT)


def test_two_readers_at_two_gateways_see_the_same(scaled: ScaledYard) -> None:
    scaled.wait_until_whole()
    response, seen, stream = start_answer(scaled, 0)
    path = f"/v1/responses/{response}?stream=true"
    other = list(events_of(scaled, "GET", path, base=scaled.gateways[2]))
    seen += list(stream)
    assert text_of(seen) == text_of(other) == TEXT
    assert [event["sequence_number"] for event in other] == list(range(len(other)))
