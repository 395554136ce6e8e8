"""WebSockets through nginx: several answers on one connection, read on at another gateway."""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from acceptance.scaled.conftest import ScaledYard
from acceptance.scaled.test_answers import Event, check_whole, text_of
from support.scripted_engine import MODEL, TEXT

CREATE = {"type": "response.create", "model": MODEL, "input": "Say something long."}


def dial(scaled: ScaledYard, base: str | None = None) -> Any:
    url = (base or scaled.yard.url).replace("http", "ws", 1)
    headers = {"authorization": f"Bearer {scaled.yard.api_key}"}
    return connect(f"{url}/v1/responses", additional_headers=headers, open_timeout=20)


def frames_of(call: ClientConnection) -> Iterator[Event]:
    """Frames until the connection breaks or the last answer on it ends."""
    try:
        while True:
            frame = json.loads(call.recv(timeout=30))
            yield frame
            if frame["type"] in {"response.completed", "response.failed", "response.ended"}:
                return
    except ConnectionClosed as closed:
        yield {"type": "closed", "code": None if closed.rcvd is None else closed.rcvd.code}


def read_on(scaled: ScaledYard, seen: list[Event], base: str | None = None) -> None:
    """Come back, as a client does, until the answer is whole."""
    deadline = time.monotonic() + 60
    while seen[-1]["type"] != "response.completed":
        assert time.monotonic() < deadline, seen[-1]
        resume = {
            "type": "response.resume",
            "response_id": seen[0]["response"]["id"],
            "starting_after": seen[-1]["sequence_number"],
        }
        try:
            with dial(scaled, base) as call:
                call.send(json.dumps(resume))
                seen += [one for one in frames_of(call) if "sequence_number" in one]
        except (OSError, InvalidStatus, EOFError):
            # nginx answers 502 in the moment in which it finds out.
            time.sleep(0.05)


def test_many_answers_on_one_connection_through_nginx(scaled: ScaledYard) -> None:
    scaled.wait_until_whole()
    with dial(scaled) as call:
        for lane in range(8):
            call.send(json.dumps({**CREATE, "stream_id": str(lane)}))
        seen: dict[str, list[Event]] = {str(lane): [] for lane in range(8)}
        while not all(one and one[-1]["type"] == "response.completed" for one in seen.values()):
            frame = json.loads(call.recv(timeout=30))
            seen[frame["stream_id"]].append(frame)
    for events in seen.values():
        check_whole(scaled, events[0]["response"]["id"], events)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_26_37_a_socket_breaks_with_its_gateway_and_is_read_on_at_another(
    scaled: ScaledYard, how: signal.Signals
) -> None:
    scaled.wait_until_whole()
    with dial(scaled, scaled.gateways[1]) as call:
        call.send(json.dumps(CREATE))
        seen: list[Event] = []
        frames = frames_of(call)
        while len(text_of(seen)) < 40:
            seen.append(next(frames))
        os.kill(scaled.gateway_pid(1), how)
        rest = list(frames)
    seen += [one for one in rest if "sequence_number" in one]
    read_on(scaled, seen)
    check_whole(scaled, seen[0]["response"]["id"], seen)
    scaled.wait_until_whole()


def test_37_a_reader_at_another_gateway_gets_the_same_bytes(scaled: ScaledYard) -> None:
    scaled.wait_until_whole()
    with dial(scaled, scaled.gateways[0]) as one, dial(scaled, scaled.gateways[2]) as other:
        one.send(json.dumps(CREATE))
        first = one.recv(timeout=30)
        response = json.loads(first)["response"]["id"]
        other.send(json.dumps({"type": "response.resume", "response_id": response}))
        texts: tuple[list[Any], list[Any]] = ([first], [])
        for call, held in zip((one, other), texts, strict=True):
            while not held or json.loads(held[-1])["type"] != "response.completed":
                held.append(call.recv(timeout=30))
    assert texts[0] == texts[1]


# OpenAI's client opens its WebSocket in a way that the library calls old.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_openais_client_speaks_to_it(scaled: ScaledYard) -> None:
    scaled.wait_until_whole()
    base = f"{scaled.yard.url}/v1"
    with (
        openai.OpenAI(base_url=base, api_key=scaled.yard.api_key) as client,
        client.responses.connect() as connection,
    ):
        connection.response.create(model=MODEL, input="Say something long.")
        text, whole = "", ""
        for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                whole = event.response.output_text
                break
    assert text == whole == TEXT
